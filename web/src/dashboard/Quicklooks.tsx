// The quicklooks of a task, one a date; they are got when they are seen.
import { useSignal } from "@preact/signals";
import { quicklookPath } from "./api";

export function Quicklooks({ order, task, names }: { order: string; task: number; names: string[] }) {
  const at = useSignal(0);
  const number = Math.min(at.value, names.length - 1);
  const name = names[number]!;
  const day = dayOf(name);
  return (
    <figure class="picture">
      <img src={quicklookPath(order, task, name)} alt={`Quicklook of ${day}`} />
      <figcaption>
        {day}
        {names.length > 1 && (
          <span class="buttons">
            <button type="button" disabled={number === 0} onClick={() => (at.value = number - 1)} aria-label="Earlier">
              ‹
            </button>
            {number + 1} of {names.length}
            <button
              type="button"
              disabled={number === names.length - 1}
              onClick={() => (at.value = number + 1)}
              aria-label="Later"
            >
              ›
            </button>
          </span>
        )}
      </figcaption>
    </figure>
  );
}

/** Quicklooks are named after image and day. */
export function dayOf(name: string): string {
  return /_(\d{4}-\d{2}-\d{2})(?:_\d+)?$/.exec(name)?.[1] ?? name;
}
