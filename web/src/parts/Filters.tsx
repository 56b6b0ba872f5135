// Filters by state, collection and tile; all parts of the page follow them.
import { useId } from "preact/hooks";
import { count, counted } from "./format";
import type { View } from "./order";

export function Filters({ view }: { view: View }) {
  const { order } = view;
  const { collections, tiles, states } = order.model;
  const id = useId();
  const only = (set: ReadonlySet<number>): string => (set.size === 1 ? String([...set][0]) : set.size ? "some" : "");
  const pick = (value: string): Set<number> => (value === "" ? new Set() : new Set([Number(value)]));
  const named = (text: string): number =>
    tiles.label.findIndex((label) => label.toLowerCase() === text.trim().toLowerCase());
  void order.version.value;
  const counts = order.counts();
  return (
    <form class="filters" aria-label="Filters" onSubmit={(event) => event.preventDefault()}>
      <span class="pair">
      <label for={`${id}-state`}>State</label>
      <select
        id={`${id}-state`}
        value={only(view.states.value)}
        onChange={(event) => (view.states.value = pick(event.currentTarget.value))}
      >
        <option value="">all</option>
        {view.states.value.size > 1 && <option value="some" disabled>{`${view.states.value.size} states`}</option>}
        {states.map(({ name }, index) =>
          counts[index]! > 0 || view.states.value.has(index) ? (
            <option key={name} value={index}>{`${name} (${count(counts[index]!)})`}</option>
          ) : null,
        )}
      </select>
      </span>
      {collections.length > 1 && (
        <span class="pair">
          <label for={`${id}-collection`}>Collection</label>
          <select
            id={`${id}-collection`}
            value={view.collection.value}
            onChange={(event) => (view.collection.value = Number(event.currentTarget.value))}
          >
            <option value={-1}>all</option>
            {collections.map((name, index) => (
              <option key={name} value={index}>
                {name}
              </option>
            ))}
          </select>
        </span>
      )}
      {tiles.label.length > 1 && (
        <span class="pair">
          <label for={`${id}-tile`}>Tile</label>
          <input
            id={`${id}-tile`}
            list={`${id}-tiles`}
            placeholder="all"
            size={10}
            autocomplete="off"
            value={view.tiles.value.size > 1 ? `${view.tiles.value.size} tiles` : (tiles.label[Number(only(view.tiles.value) || -1)] ?? "")}
            onInput={(event) => {
              const index = named(event.currentTarget.value);
              if (index >= 0) view.tiles.value = new Set([index]);
            }}
            onChange={(event) => {
              const text = event.currentTarget.value.trim().toLowerCase();
              const found = tiles.label.flatMap((label, index) => (label.toLowerCase().includes(text) ? [index] : []));
              view.tiles.value = text === "" ? new Set() : new Set(found);
            }}
          />
          <datalist id={`${id}-tiles`}>
            {tiles.label.slice(0, 500).map((label) => (
              <option key={label} value={label} />
            ))}
          </datalist>
        </span>
      )}
      <output class="muted" aria-live="polite">
        {view.isFiltered.value ? `${counted(view.matching.value, "task")} of ${count(order.n)}` : counted(order.n, "task")}
      </output>
      {view.isFiltered.value && (
        <button type="button" onClick={() => view.clear()}>
          Clear filters
        </button>
      )}
    </form>
  );
}
