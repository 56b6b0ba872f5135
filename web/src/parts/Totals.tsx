// How an order stands, in numbers; the states are buttons that filter.
import type { ComponentChildren } from "preact";
import { useComputed } from "@preact/signals";
import { bytes, count, counted, percent, scaled, span } from "./format";
import type { Order, View } from "./order";
import { Swatch } from "./states";

/** States from done to not begun: the order of the bar. */
const BAR = "CERQUKXLF";

export function Totals({ view }: { view: View }) {
  const { order } = view;
  const counts = useComputed(() => {
    void order.version.value;
    return order.counts();
  }).value;
  const of = (code: string): number => counts[order.code[code]!]!;
  const done = of("C") + of("E");
  const left = order.n - [..."CEFXL"].reduce((sum, code) => sum + of(code), 0);
  const [failed, cancelled] = [of("F") + of("L"), of("X")];
  return (
    <section class="totals" aria-labelledby="totals-title">
      <h2 id="totals-title" class="visually-hidden">
        Totals
      </h2>
      <div class="headline">
        <p class="big">{percent(done, order.n)}</p>
        <p>
          {count(done)} of {counted(order.n, "task")} done
          {failed > 0 && <span class="alert">, {count(failed)} failed</span>}
          {cancelled > 0 && <span>, {count(cancelled)} cancelled</span>}
          {left > 0 && <span>, {count(left)} to go</span>}
          {left > 0 && <Left eta={order.eta.value} />}
        </p>
      </div>
      <div class="bar" role="img" aria-label={`${percent(done, order.n)} of the tasks are done`}>
        {[...BAR].map((code) => of(code) > 0 && <Share key={code} code={code} part={of(code) / order.n} />)}
      </div>
      <States view={view} counts={counts} />
      <Numbers order={order} />
    </section>
  );
}

function Left({ eta }: { eta: number | null }) {
  return eta === null ? null : <span class="muted"> (about {span(eta)} left)</span>;
}

function Share({ code, part }: { code: string; part: number }) {
  return <span class={`share share-${code}`} style={{ flexGrow: String(part) }} />;
}

function States({ view, counts }: { view: View; counts: number[] }) {
  const chosen = view.states.value;
  return (
    <ul class="states" aria-label="Tasks by state">
      {view.order.model.states.map(({ code, name }, index) =>
        counts[index]! > 0 || chosen.has(index) ? (
          <li key={code}>
            <button type="button" aria-pressed={chosen.has(index)} onClick={() => view.toggleState(index)}>
              <Swatch code={code} />
              <span>{name}</span>
              <b>{count(counts[index]!)}</b>
            </button>
          </li>
        ) : null,
      )}
    </ul>
  );
}

function Numbers({ order }: { order: Order }) {
  void order.version.value;
  const size = order.bytes.reduce((sum, one) => sum + one, 0);
  const { task, scenes, looked } = order.model.acquisitions;
  const runtimes = [];
  for (let one = 0; one < order.n; one += 1) {
    const seconds = order.runtime(one);
    if (seconds !== null) runtimes.push(seconds);
  }
  const total = runtimes.reduce((sum, one) => sum + one, 0);
  const mean = total / runtimes.length;
  const deviation = Math.sqrt(runtimes.reduce((sum, one) => sum + (one - mean) ** 2, 0) / runtimes.length);
  const pixels = task.reduce((sum, one) => sum + (order.model.tiles.pixels[order.axes(one)[1]] ?? 0), 0);
  const made = order.state.reduce((sum, state) => sum + (state === order.code.C ? 1 : 0), 0);
  const part = looked.length < made ? `in ${count(looked.length)} of ${counted(made, "result")}` : "";
  // A scene reaches into several tiles, an acquisition into none but its own.
  const times = scenes.reduce((sum, one) => sum + one, 0);
  return (
    <dl class="numbers">
      <Figure name="Acquisitions" value={looked.length > 0 && count(task.length)} note={part} />
      <Figure
        name="Scenes, by task"
        value={looked.length > 0 && count(times)}
        note={`${part ? `${part}; ` : ""}one counts in each task that it is in`}
      />
      <Figure name="Pixels" value={looked.length > 0 && scaled(pixels, "px")} note={part || "all dates, of each band"} />
      <Figure name="Bytes" value={size > 0 && bytes(size)} note="in the store" />
      <Figure
        name="Runtime"
        value={runtimes.length > 0 && span(mean)}
        note={`a task, ± ${span(deviation)}; ${span(total)} in all`}
      />
      <Figure name="Tiles" value={count(order.model.tiles.label.length)} />
      <Figure name="Periods" value={count(order.model.periods.length)} />
    </dl>
  );
}

function Figure({ name, value, note }: { name: string; value: ComponentChildren; note?: string }) {
  if (!value) return null;
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {value}
        {note && <small>{note}</small>}
      </dd>
    </div>
  );
}
