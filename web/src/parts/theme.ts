// Light and dark: as the system has it, or as the reader chose; and the colours that canvases use.
import { computed, effect, signal } from "@preact/signals";

export type Choice = "auto" | "light" | "dark";

const KEY = "orchard-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(dark.matches);
dark.addEventListener("change", () => (systemDark.value = dark.matches));

export const choice = signal<Choice>(stored());
export const scheme = computed(() => (choice.value === "auto" ? (systemDark.value ? "dark" : "light") : choice.value));
/** Changes when canvases have to be drawn in other colours. */
export const painted = signal(0);

/** Keep the page's theme; to be called once. */
export function keepTheme(): void {
  effect(() => {
    document.documentElement.dataset.theme = scheme.value;
    palette.clear();
    painted.value = painted.peek() + 1;
  });
}

export function choose(value: Choice): void {
  choice.value = value;
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // Pages of files may have no storage: the choice holds until the page is closed.
  }
}

function stored(): Choice {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "auto";
  } catch {
    return "auto";
  }
}

const palette = new Map<string, string>();

/** The value of a custom property of the theme: `colour("--ink")`. */
export function colour(name: string): string {
  let found = palette.get(name);
  if (found === undefined) {
    found = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    palette.set(name, found);
  }
  return found;
}

/** Fill, and ink upon it, of a state by its letter. */
export function stateColour(code: string): { fill: string; ink: string } {
  return { fill: colour(`--state-${code}`), ink: colour(`--state-${code}-ink`) };
}

export const reducedMotion = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;
