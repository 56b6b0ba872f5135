// All pictures of an order; a click selects the task.
import { useSignal } from "@preact/signals";
import { day } from "./format";
import type { View } from "./order";

export function Gallery({
  view,
  onOpen,
  first = 24,
}: {
  view: View;
  onOpen?: (task: number) => void;
  first?: number;
}) {
  const { order } = view;
  const all = useSignal(false);
  const matches = view.matches.value;
  const found = order.model.quicklooks.filter(({ task }) => matches[task]);
  // A few of all, rather than all of a few tasks.
  const shown = all.value ? found : found.filter((_, i) => Math.floor((i * first) / found.length) !== Math.floor(((i - 1) * first) / found.length));
  if (found.length === 0) return <p class="muted">No picture passes the filters.</p>;
  return (
    <>
      <ul class="gallery">
        {shown.map(({ task, day: date, src }) => {
          const place = order.place(task);
          const tile = place ? order.model.tiles.label[place.tile] : order.name(task);
          return (
            <li key={`${task}-${date}`}>
              <button
                type="button"
                aria-pressed={view.selected.value === task}
                onClick={() => {
                  view.selected.value = task;
                  onOpen?.(task);
                }}
              >
                <img src={src} alt="" loading="lazy" />
                <span>
                  {tile} <time>{day(date)}</time>
                </span>
              </button>
            </li>
          );
        })}
      </ul>
      {found.length > shown.length && (
        <button type="button" onClick={() => (all.value = true)}>
          Show all {found.length}
        </button>
      )}
    </>
  );
}
