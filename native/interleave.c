/* Samples that lie pixel by pixel, put band by band: the transpose of a long, narrow matrix.
 *
 * A straight loop either reads or writes one number of each cache line that it touches. Here squares
 * of 8 x 8 numbers are turned in registers, and whole lines of 32 pixels of a band are written at a
 * time, as the bands of a block lie a power of two apart, where a cache has few places.
 */
#include <stddef.h>
#include <stdint.h>

enum { SQUARE = 8, LINE = 32 };

/* One by one: what does not fill a square. */
static void turn_rest(const uint16_t *in, size_t step, size_t pixels, size_t samples, uint16_t *out,
                      size_t apart)
{
    for (size_t sample = 0; sample < samples; sample++)
        for (size_t pixel = 0; pixel < pixels; pixel++)
            out[sample * apart + pixel] = in[pixel * step + sample];
}

#ifdef __SSE2__
#include <emmintrin.h>

static void turn_square(const uint16_t *in, size_t step, uint16_t *out, size_t apart)
{
    __m128i a[SQUARE], b[SQUARE];
    for (int i = 0; i < SQUARE; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(in + i * step));
    /* Pairs of rows, then of pairs, then of fours. */
    for (int i = 0; i < SQUARE; i += 2) {
        b[i] = _mm_unpacklo_epi16(a[i], a[i + 1]);
        b[i + 1] = _mm_unpackhi_epi16(a[i], a[i + 1]);
    }
    for (int i = 0; i < SQUARE; i += 4) {
        a[i] = _mm_unpacklo_epi32(b[i], b[i + 2]);
        a[i + 1] = _mm_unpackhi_epi32(b[i], b[i + 2]);
        a[i + 2] = _mm_unpacklo_epi32(b[i + 1], b[i + 3]);
        a[i + 3] = _mm_unpackhi_epi32(b[i + 1], b[i + 3]);
    }
    for (int i = 0; i < SQUARE / 2; i++) {
        b[2 * i] = _mm_unpacklo_epi64(a[i], a[i + 4]);
        b[2 * i + 1] = _mm_unpackhi_epi64(a[i], a[i + 4]);
    }
    for (int i = 0; i < SQUARE; i++)
        _mm_storeu_si128((__m128i *)(out + i * apart), b[i]);
}
#else
static void turn_square(const uint16_t *in, size_t step, uint16_t *out, size_t apart)
{
    turn_rest(in, step, SQUARE, SQUARE, out, apart);
}
#endif

/* Numbers of 16 bits of `pixels` pixels that lie `step` apart, `samples` of each, into bands that
 * begin `apart` from each other. */
void orchard_turn16(const uint16_t *in, size_t step, size_t pixels, size_t samples, uint16_t *out,
                    size_t apart)
{
    size_t whole = samples - samples % SQUARE, lines = pixels - pixels % LINE;
    for (size_t line = 0; line < lines; line += LINE)
        for (size_t sample = 0; sample < whole; sample += SQUARE)
            for (size_t pixel = line; pixel < line + LINE; pixel += SQUARE)
                turn_square(in + pixel * step + sample, step, out + sample * apart + pixel, apart);
    turn_rest(in + whole, step, lines, samples - whole, out + whole * apart, apart);
    turn_rest(in + lines * step, step, pixels - lines, samples, out + lines, apart);
}
