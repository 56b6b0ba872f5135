// Filters by state, collection and tile; all parts of the page follow them.
import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { count, counted } from "./format";
import type { View } from "./order";

/** Milliseconds without a key after which tiles are sought. */
const PAUSE = 250;

export function Filters({ view }: { view: View }) {
  const { order } = view;
  const { collections, tiles, states } = order.model;
  const id = useId();
  const only = (set: ReadonlySet<number>): string => (set.size === 1 ? String([...set][0]) : set.size ? "some" : "");
  const pick = (value: string): Set<number> => (value === "" ? new Set() : new Set([Number(value)]));
  const unknown = (key: string): string | undefined => view.unknown.value.find((one) => one.key === key)?.value;
  const nothing = whyNothing(view);
  void order.version.value;
  const counts = order.counts();
  return (
    <form class="filters" aria-label="Filters" onSubmit={(event) => event.preventDefault()}>
      <span class="pair">
      <label for={`${id}-state`}>State</label>
      <select
        id={`${id}-state`}
        value={only(view.states.value) || (unknown("state") ?? "")}
        onChange={(event) => view.setStates(pick(event.currentTarget.value))}
      >
        <option value="">all</option>
        <Unknown value={unknown("state")} />
        {view.states.value.size > 1 && <option value="some" disabled>{`${view.states.value.size} states`}</option>}
        {states.map(({ name }, index) =>
          counts[index]! > 0 || view.states.value.has(index) ? (
            <option key={name} value={index}>{`${name} (${count(counts[index]!)})`}</option>
          ) : null,
        )}
      </select>
      </span>
      {(collections.length > 1 || unknown("collection")) && (
        <span class="pair">
          <label for={`${id}-collection`}>Collection</label>
          <select
            id={`${id}-collection`}
            value={view.collection.value >= 0 ? view.collection.value : (unknown("collection") ?? -1)}
            onChange={(event) => view.setCollection(Number(event.currentTarget.value))}
          >
            <option value={-1}>all</option>
            <Unknown value={unknown("collection")} />
            {collections.map((name, index) => (
              <option key={name} value={index}>
                {name}
              </option>
            ))}
          </select>
        </span>
      )}
      {(tiles.label.length > 1 || view.sought.value !== "") && <TileField view={view} id={`${id}-tile`} />}
      <output class="muted" aria-live="polite">
        {view.isFiltered.value ? `${counted(view.matching.value, "task")} of ${count(order.n)}` : counted(order.n, "task")}
        {nothing.length > 0 && <span class="alert">: {nothing.join("; ")}</span>}
      </output>
      {view.isFiltered.value && (
        <button type="button" onClick={() => view.clear()}>
          Clear filters
        </button>
      )}
    </form>
  );
}

/** What somebody asked for and there is not, as an option of its own. */
function Unknown({ value }: { value: string | undefined }) {
  if (value === undefined) return null;
  return (
    <option value={value} disabled>
      {value} (unknown)
    </option>
  );
}

/** What is asked for that nothing can be. */
function whyNothing(view: View): string[] {
  const { cause } = view;
  const kinds = ["state", "collection"];
  const isKnown = cause.value === null || [...view.order.causes.values()].includes(cause.value);
  return [
    ...view.unknown.value.map(({ key, value }) => (kinds.includes(key) ? `no ${key} is called '${value}'` : `there is no filter '${key}'`)),
    ...view.parts().flatMap((part) => (view.named(part).length === 0 ? [`no tile matches '${part}'`] : [])),
    ...(isKnown ? [] : [`no task has failed by '${cause.value}'`]),
  ];
}

/** The field filters while one types; what was typed stays in it. */
function TileField({ view, id }: { view: View; id: string }) {
  const { label } = view.order.model.tiles;
  /** What is typed and not yet sought; null: nothing. */
  const typed = useSignal<string | null>(null);
  const timer = useRef(0);
  const seek = (): void => {
    clearTimeout(timer.current);
    if (typed.value !== null) view.sought.value = typed.value;
    typed.value = null;
  };
  const later = (): void => {
    clearTimeout(timer.current);
    timer.current = setTimeout(seek, PAUSE);
  };
  // Whoever clears the filters or goes to another address takes back what is typed.
  useSignalEffect(() => {
    void view.sought.value;
    clearTimeout(timer.current);
    typed.value = null;
  });
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <span class="pair">
      <label for={id}>Tile</label>
      <input
        id={id}
        list={`${id}s`}
        placeholder="all"
        size={10}
        autocomplete="off"
        value={typed.value ?? view.sought.value}
        onInput={(event) => {
          typed.value = event.currentTarget.value;
          if (label.includes(typed.value)) seek();
          else later();
        }}
        onKeyDown={(event) => event.key === "Enter" && seek()}
        // Not now: what moves under the pointer between its press and its release is not clicked.
        onBlur={() => typed.value !== null && later()}
      />
      <datalist id={`${id}s`}>
        {label.slice(0, 500).map((one) => (
          <option key={one} value={one} />
        ))}
      </datalist>
    </span>
  );
}
