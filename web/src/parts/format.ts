// Numbers and times as people read them. Times are UTC.

const THOUSANDS = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(value: number): string {
  return THOUSANDS.format(value);
}

/** `1 task`, `2 tasks`. */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** Three digits and a unit: `12.3 GB`. */
export function scaled(value: number, unit: string): string {
  const steps = ["", "k", "M", "G", "T", "P", "E"];
  let step = 0;
  let shown = value;
  while (shown >= 999.5 && step < steps.length - 1) {
    shown /= 1000;
    step += 1;
  }
  const digits = step === 0 ? Math.round(shown) : Number(shown.toPrecision(3));
  return `${digits} ${steps[step]}${unit}`.trim();
}

export function bytes(value: number): string {
  return scaled(value, "B");
}

/** `2 d 3 h`, `3 h 5 min`, `5 min 2 s`, `12 s`, `0.4 s`. */
export function span(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [d, h, m, s] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s} s` : `${s} s`;
}

/** `2023-04-01 12:30:05`. */
export function moment(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}

/** A day that counts from 1970. */
export function day(days: number): string {
  return new Date(days * 86_400_000).toISOString().slice(0, 10);
}

/** Never 100 % when something is left, never 0 % when something is there. */
export function percent(part: number, whole: number): string {
  if (whole === 0 || part === whole) return "100 %";
  if (part === 0) return "0 %";
  return `${Math.min(99, Math.max(1, Math.round((100 * part) / whole)))} %`;
}

/** Degrees as people write them: `12.5° E`. */
export function degrees(value: number, positive: string, negative: string): string {
  const shown = Number(Math.abs(value).toFixed(4));
  return shown === 0 ? "0°" : `${shown}° ${value > 0 ? positive : negative}`;
}
