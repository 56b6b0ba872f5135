// All orders of the project, the latest first, each with how it stands.
import { useComputed, useSignal } from "@preact/signals";
import { count, counted, percent } from "../parts/format";
import type { Summary } from "./live";
import { hashOf, live, route } from "./state";

const FIRST = 50;
const MANY = 8;
/** From done to not begun, as in the bar of the totals. */
const BAR = ["COMPLETED", "EMPTY", "RUNNING", "READY", "UNSUBMITTED", "CANCEL_REQUESTED", "CANCELLED", "LOST", "FAILED"];
const CODES: Record<string, string> = {
  UNSUBMITTED: "U",
  READY: "Q",
  RUNNING: "R",
  COMPLETED: "C",
  FAILED: "F",
  CANCEL_REQUESTED: "K",
  CANCELLED: "X",
  EMPTY: "E",
  LOST: "L",
};

export function OrderList() {
  const wanted = useSignal("");
  const limit = useSignal(FIRST);
  const all = useComputed(() => sorted(live.orders.value)).value;
  const found = all.filter((one) => one.order.toLowerCase().includes(wanted.value.toLowerCase()));
  if (all.length === 0) return null;
  return (
    <>
      <div class="side-head">
        <h2>{counted(all.length, "order")}</h2>
        {all.length > MANY && (
          <input
            type="search"
            aria-label="Find an order"
            placeholder="Find"
            value={wanted.value}
            onInput={(event) => (wanted.value = event.currentTarget.value)}
          />
        )}
      </div>
      <ul class="orders">
        {found.slice(0, limit.value).map((one) => (
          <Entry key={one.order} summary={one} />
        ))}
      </ul>
      {found.length > limit.value && (
        <button type="button" onClick={() => (limit.value += FIRST)}>
          {count(found.length - limit.value)} more
        </button>
      )}
    </>
  );
}

function Entry({ summary }: { summary: Summary }) {
  const { order, states, tasks, progress, submitted } = summary;
  const on = route.value.order === order;
  const failed = (states.FAILED ?? 0) + (states.LOST ?? 0);
  const running = states.RUNNING ?? 0;
  return (
    <li>
      <a href={hashOf(order)} aria-current={on ? "page" : undefined}>
        <span class="order-name">{order}</span>
        <span class="order-line">
          <b>{percent(Math.round(progress * tasks), tasks)}</b> of {counted(tasks, "task")}
          {running > 0 && <span>, {count(running)} running</span>}
          {failed > 0 && <span class="alert">, {count(failed)} failed</span>}
        </span>
        <span class="bar" aria-hidden="true">
          {BAR.map((state) => {
            const part = states[state] ?? 0;
            return part > 0 && <span key={state} class={`share share-${CODES[state]}`} style={{ flexGrow: String(part) }} />;
          })}
        </span>
        <span class="order-line muted">{submitted.slice(0, 16).replace("T", " ")}</span>
      </a>
    </li>
  );
}

function sorted(orders: ReadonlyMap<string, Summary>): Summary[] {
  return [...orders.values()].sort(
    (a, b) => compare(b.submitted, a.submitted) || compare(b.order, a.order),
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
