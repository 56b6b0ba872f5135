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

/** The filters of a view by their names, as a query; tiles as they were typed. */
export function filtersOf(view: View): string {
  const { states, collections } = view.order.model;
  const query = new URLSearchParams();
  for (const index of view.states.value) query.append("state", states[index]!.name);
  if (view.collection.value >= 0) query.append("collection", collections[view.collection.value]!);
  for (const part of view.parts()) query.append("tile", part);
  if (view.cause.value !== null) query.append("cause", view.cause.value);
  for (const { key, value } of view.unknown.value) query.append(key, value);
  return query.toString();
}

/** Filter a view as a query says; what its order does not have is kept as unknown. */
export function filter(view: View, filters: string): void {
  const { states, collections } = view.order.model;
  const names: Record<string, string[]> = { state: states.map(({ name }) => name), collection: collections };
  const query = [...new URLSearchParams(filters)].filter(([, value]) => value !== "");
  const of = (wanted: string): string[] => query.flatMap(([key, value]) => (key === wanted ? [value] : []));
  const found = (key: string): number[] =>
    of(key).flatMap((name) => (names[key]!.includes(name) ? [names[key]!.indexOf(name)] : []));
  batch(() => {
    view.states.value = new Set(found("state"));
    view.collection.value = found("collection")[0] ?? -1;
    view.sought.value = of("tile").join(", ");
    view.cause.value = of("cause")[0] ?? null;
    view.unknown.value = query.flatMap(([key, value]) =>
      key === "tile" || key === "cause" || names[key]?.includes(value) ? [] : [{ key, value }],
    );
  });
}
