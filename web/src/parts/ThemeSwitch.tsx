// Light, dark, or as the system has it.
import { choice, choose, type Choice } from "./theme";

const CHOICES: [Choice, string][] = [
  ["auto", "Auto"],
  ["light", "Light"],
  ["dark", "Dark"],
];

export function ThemeSwitch() {
  return (
    <div class="segments" role="group" aria-label="Theme">
      {CHOICES.map(([value, text]) => (
        <button key={value} type="button" aria-pressed={choice.value === value} onClick={() => choose(value)}>
          {text}
        </button>
      ))}
    </div>
  );
}
