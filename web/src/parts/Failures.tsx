// What failed, by cause; what was cancelled has not failed.
import type { ComponentChildren } from "preact";
import { useComputed } from "@preact/signals";
import { count, counted } from "./format";
import type { View } from "./order";

const SHOWN = 12;

export function Failures({
  view,
  action,
}: {
  view: View;
  action?: (failure: { text: string; tasks: number[] }) => ComponentChildren;
}) {
  const { order } = view;
  const failures = useComputed(() => {
    void order.version.value;
    return order.failures();
  }).value;
  if (failures.length === 0) return <p class="muted">Nothing has failed.</p>;
  return (
    <>
      <ul class="failures">
        {failures.slice(0, SHOWN).map((failure) => {
          const on = view.cause.value === failure.text;
          return (
            <li key={failure.text}>
              <b>{count(failure.tasks.length)}</b>
              <div>
                <p class="cause">{failure.text}</p>
                <p class="muted small">
                  <code>{order.name(failure.tasks[0]!)}</code>
                  {failure.tasks.length > 1 && ` and ${count(failure.tasks.length - 1)} more`}
                </p>
              </div>
              <span class="buttons">
                <button
                  type="button"
                  aria-pressed={on}
                  onClick={() => {
                    view.cause.value = on ? null : failure.text;
                    if (!on) view.selected.value = failure.tasks[0]!;
                  }}
                >
                  Show
                </button>
                {action?.(failure)}
              </span>
            </li>
          );
        })}
      </ul>
      {failures.length > SHOWN && <p class="muted">and {counted(failures.length - SHOWN, "more cause")}</p>}
    </>
  );
}
