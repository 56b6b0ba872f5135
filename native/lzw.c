/* LZW as TIFF 6.0 (section 13) has it: codes of 9 to 12 bits, the first bit of a byte its highest,
 * the width growing one code early.
 *
 * Most strings of imagery are short. One of up to seven bytes is kept in the table itself, as a word
 * of its bytes and its length, and is written by one store of the whole word: what is too much is
 * covered by the next string. A longer one is a piece of what has been decoded; of these the table
 * says so, and where. Whatever else is rare (a clear, the end, a code not known yet, the ends of both
 * buffers) leaves the fast loop in the same way, by the one branch that it has.
 *
 * Nothing is read or written outside of the two buffers, whatever the input says.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "strings are kept in words of little-endian machines"
#endif

enum {
    CLEAR = 256,
    END = 257,
    FIRST = 258,    /* the first code that is the table's own */
    CODES = 4096,
    AT_ONCE = 4,    /* codes that a word of 64 bits is sure to hold: 7 + 4 * 12 bits */
    SHORT = 7,      /* bytes of a string that a word can hold */
    ROOM = 8 * (AT_ONCE + 1),
};

/* A short string: its first byte the lowest, and in the highest byte its length in bits. */
typedef uint64_t String;
#define BITS(string) ((string) >> 56)
#define LENGTH(string) ((string) >> 59)
#define OF_LENGTH(bytes) ((String)(bytes) << 59)
#define LONG UINT64_MAX    /* also of codes that are not known */

typedef struct {
    String strings[CODES];
    uint32_t starts[CODES], lengths[CODES];    /* in the output; of strings met outside the fast loop */
} Table;

static inline String appended(String string, uint64_t byte)
{
    return (string | byte << BITS(string)) + OF_LENGTH(1);
}

static inline uint64_t big_endian(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return __builtin_bswap64(word);
}

static inline uint32_t code_at(const uint8_t *in, size_t size, size_t bit, uint32_t width)
{
    uint32_t three = 0;    /* bytes hold any code */
    for (size_t i = bit >> 3; i < (bit >> 3) + 3; i++)
        three = three << 8 | (i < size ? in[i] : 0);
    return three >> (24 - (bit & 7) - width) & ((1u << width) - 1);
}

/* Repeat what was decoded; a string may reach into its own repetition. */
static void repeat(uint8_t *out, size_t capacity, size_t done, size_t start, size_t length)
{
    if (done - start >= 8 && capacity - done >= length + 8)
        for (size_t i = 0; i < length; i += 8)
            memcpy(out + done + i, out + start + i, 8);
    else
        for (size_t i = 0; i < length; i++)
            out[done + i] = out[start + i];
}

/* Decode `size` bytes of `in` into `out`, at most `capacity` bytes.
 *
 * Returns how many bytes were decoded, or -1 for what is not LZW of this kind.
 */
ptrdiff_t orchard_lzw_decode(const uint8_t *in, size_t size, uint8_t *out, size_t capacity)
{
    Table table;
    size_t bits = 8 * size, bit = 0, done = 0;
    uint32_t next = FIRST, width = 9;
    String last = 0;                     /* LONG, too; its place and length are these: */
    size_t start = 0, length = 0;        /* a length of 0 says that the table is empty */

    if (capacity > UINT32_MAX)
        return -1;
    if (size > 1 && in[0] == 0 && (in[1] & 1))
        return -1;    /* from before TIFF 6.0: the lowest bit first */
    for (uint32_t code = 0; code < CLEAR; code++)
        table.strings[code] = code | OF_LENGTH(1);
    memset(table.strings + CLEAR, 0xff, sizeof table.strings - CLEAR * sizeof(String));

    while (done < capacity) {
        while (length && length < SHORT && next + AT_ONCE < (1u << width) - 1 &&
               bits - bit >= 64 && capacity - done >= ROOM) {
            uint64_t word = big_endian(in + (bit >> 3)) << (bit & 7);
            for (int i = 0; i < AT_ONCE; i++) {
                String string = table.strings[word >> (64 - width)];
                /* What is shorter than SHORT can be appended to. */
                if (__builtin_expect(string >= OF_LENGTH(SHORT), 0)) {
                    length = LENGTH(last);
                    goto rare;
                }
                word <<= width;
                bit += width;
                table.strings[next++] = appended(last, string & 0xff);
                memcpy(out + done, &string, sizeof string);
                start = done;
                done += LENGTH(string);
                last = string;
            }
            length = LENGTH(last);
        }
    rare:
        if (bits - bit < width)
            break;
        uint32_t code = code_at(in, size, bit, width);
        bit += width;
        if (code == END)
            break;
        if (code == CLEAR) {
            memset(table.strings + FIRST, 0xff, (next - FIRST) * sizeof(String));
            next = FIRST;
            width = 9;
            length = 0;
            continue;
        }
        if (length) {
            if (code > next || next == CODES)
                return -1;
            /* A code that is not known yet begins as the last string, which it is made of, does. */
            String string = code == next ? last : table.strings[code];
            if (length < SHORT)
                table.strings[next] = appended(
                    last, string == LONG ? out[table.starts[code]] : string & 0xff);
            table.starts[next] = (uint32_t)start;
            table.lengths[next] = (uint32_t)length + 1;
            next++;
            if (next + 1 >= 1u << width && width < 12)
                width++;
        } else if (code >= CLEAR) {
            return -1;
        }
        last = table.strings[code];
        length = last == LONG ? table.lengths[code] : LENGTH(last);
        if (length > capacity - done)
            length = capacity - done;
        if (last == LONG)
            repeat(out, capacity, done, table.starts[code], length);
        else
            memcpy(out + done, &last, length);
        start = done;
        done += length;
    }
    return (ptrdiff_t)done;
}
