// The address of what is looked at: `#/orders/NAME/tasks/3?state=FAILED&tile=h001v002`.
import { batch } from "@preact/signals";
import type { View } from "../parts/order";

export interface Route {
  order: string | null;
  task: number | null;
  /** What the order is filtered by, as `filtersOf` writes it. */
  filters: string;
}

const NOWHERE: Route = { order: null, task: null, filters: "" };

export function parse(hash: string): Route {
  const [, path, filters] = /^#?\/?([^?]*)\??(.*)$/s.exec(hash)!;
  const [where, order, what, task] = path!.split("/");
  if (where !== "orders" || !order) return NOWHERE;
  try {
    const number = what === "tasks" && /^\d+$/.test(task ?? "") ? Number(task) : null;
    return { order: decodeURIComponent(order), task: number, filters: filters! };
  } catch {
    return NOWHERE;
  }
}

export function address({ order, task, filters }: Route): string {
  if (order === null) return "#/";
  const path = `#/orders/${encodeURIComponent(order)}${task === null ? "" : `/tasks/${task}`}`;
  return filters ? `${path}?${filters}` : path;
}

/** The filters of a view by their names, as a query. */
export function filtersOf(view: View): string {
  const { states, collections, tiles } = view.order.model;
  const query = new URLSearchParams();
  for (const index of view.states.value) query.append("state", states[index]!.name);
  if (view.collection.value >= 0) query.append("collection", collections[view.collection.value]!);
  for (const index of view.tiles.value) query.append("tile", tiles.label[index]!);
  if (view.cause.value !== null) query.append("cause", view.cause.value);
  return query.toString();
}

/** Filter a view as a query says; what its order does not have is left out. */
export function filter(view: View, filters: string): void {
  const { states, collections, tiles } = view.order.model;
  const query = new URLSearchParams(filters);
  const found = (key: string, names: string[]): number[] =>
    query.getAll(key).flatMap((name) => (names.includes(name) ? [names.indexOf(name)] : []));
  batch(() => {
    view.states.value = new Set(found("state", states.map(({ name }) => name)));
    view.collection.value = found("collection", collections)[0] ?? -1;
    view.tiles.value = new Set(found("tile", tiles.label));
    view.cause.value = query.get("cause");
  });
}
