// The tasks that pass the filters, as a table, a page at a time.
import { useComputed, useSignal } from "@preact/signals";
import { bytes, count, counted, span } from "./format";
import type { View } from "./order";
import { Swatch } from "./states";

const PAGE = 25;

export function TaskTable({ view, onOpen }: { view: View; onOpen?: (task: number) => void }) {
  const { order } = view;
  const at = useSignal(0);
  const found = useComputed(() => {
    const tasks: number[] = [];
    view.matches.value.forEach((match, task) => match && tasks.push(task));
    return tasks;
  }).value;
  void order.version.value;
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  const page = Math.min(at.value, pages - 1);
  const shown = found.slice(page * PAGE, (page + 1) * PAGE);
  const dated = shown.some((task) => order.isKnown(task));
  return (
    <>
      <div class="scroll tasks" tabIndex={0} role="region" aria-label="Table of tasks">
        <table>
          <caption class="visually-hidden">{counted(found.length, "task")}</caption>
          <thead>
            <tr>
              <th scope="col">Task</th>
              <th scope="col">State</th>
              {dated && <th scope="col">Dates</th>}
              <th scope="col">Runtime</th>
              <th scope="col">Size</th>
              <th scope="col">Cause</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((task) => {
              const runtime = order.runtime(task);
              return (
                <tr key={task} class={view.selected.value === task ? "chosen" : ""}>
                  <th scope="row">
                    <button
                      type="button"
                      class="link"
                      onClick={() => {
                        view.selected.value = task;
                        onOpen?.(task);
                      }}
                    >
                      {order.name(task)}
                    </button>
                  </th>
                  <td>
                    <Swatch code={order.letter(task)} /> {order.stateName(task)}
                  </td>
                  {dated && (
                    <td class="number" data-name="Dates">
                      {order.isKnown(task) ? count(order.acquisitions(task).length) : ""}
                    </td>
                  )}
                  <td class="number" data-name="Runtime">
                    {runtime === null ? "" : span(runtime)}
                  </td>
                  <td class="number" data-name="Size">
                    {order.bytes[task] ? bytes(order.bytes[task]!) : ""}
                  </td>
                  <td class="why">{order.causes.get(task) ?? ""}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <nav class="pages" aria-label="Pages of tasks">
        <button type="button" disabled={page === 0} onClick={() => (at.value = page - 1)}>
          Earlier
        </button>
        <span>
          {count(page + 1)} of {count(pages)}
        </span>
        <button type="button" disabled={page >= pages - 1} onClick={() => (at.value = page + 1)}>
          Later
        </button>
      </nav>
    </>
  );
}
