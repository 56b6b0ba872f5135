// The tiles on a map that needs no network, coloured by how their tasks stand.
import { median } from "d3-array";
import { type ExtendedFeature, geoCentroid, geoContains, geoPath, type GeoPath, type GeoProjection } from "d3-geo";
import { useComputed, useSignal } from "@preact/signals";
import { useId, useRef } from "preact/hooks";
import { useCanvas } from "./canvas";
import { count, counted, percent } from "./format";
import { drawGlobe, drawGround, drawScale, fit, type Tile } from "./ground";
import type { Order, View } from "./order";
import { Swatch } from "./states";
import { colour, stateColour } from "./theme";

/** What a tile's tasks come to. */
interface Summary {
  counts: number[];
  worst: string;
  /** The most frequent state. */
  most: string;
  done: number;
  total: number;
}

const MODES = {
  worst: "worst state",
  most: "most frequent state",
  done: "part done",
  clear: "median clear part",
} as const;
type Mode = keyof typeof MODES;

const HEIGHT = 360;

export function TileMap({ view }: { view: View }) {
  const { order } = view;
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const focus = useSignal(0);
  const hasFocus = useSignal(false);
  const hover = useSignal<{ tile: number; x: number; y: number } | null>(null);
  const spoken = useSignal("");
  const tiles = useComputed(() => shapes(order)).value;
  const sums = useComputed(() => summaries(view));
  const mode = useSignal<Mode>("worst");
  const clear = useComputed(() => clearness(order));
  const knowsClear = clear.value.some((value) => value !== null);
  const id = useId();
  const fitted = useRef<{ projection: GeoProjection; width: number; height: number } | null>(null);

  useCanvas(
    canvas,
    (context, width, height) => {
      const marked = hasFocus.value ? tiles[focus.value]?.index : undefined;
      const [chosen, found, how, shares] = [view.tiles.value, sums.value, mode.value, clear.value];
      if (!width || tiles.length === 0) return;
      const known = fitted.current;
      const projection =
        known?.width === width && known.height === height ? known.projection : fit(tiles, width, height);
      fitted.current = { projection, width, height };
      const path = geoPath(projection, context);
      drawGround(context, path, projection, width, height);
      for (const tile of tiles) {
        const sum = found[tile.index]!;
        const faded = sum.total === 0 || (chosen !== null && !chosen.has(tile.index));
        drawTile(context, path, projection, tile, faded, paintOf(how, sum, shares[tile.index] ?? null));
      }
      for (const tile of tiles) {
        if (chosen?.has(tile.index)) stroke(context, path, tile, colour("--ink"), 2);
        if (tile.index === marked) stroke(context, path, tile, colour("--focus"), 3);
      }
      drawScale(context, projection, width, height);
      drawGlobe(context, tiles, width, height);
    },
    order,
  );

  if (tiles.length === 0) return <p class="muted">The tiles of this order cannot be drawn.</p>;

  const speak = (tile: number): string => {
    const sum = sums.value[tile]!;
    const states = order.model.states.flatMap(({ name }, i) => (sum.counts[i] ? [`${count(sum.counts[i]!)} ${name}`] : []));
    const chosen = view.tiles.value?.has(tile) ? ", chosen" : "";
    return `${order.model.tiles.label[tile]}: ${states.join(", ") || "no task passes the filters"}${chosen}`;
  };
  const tileAt = (event: MouseEvent): number | null => {
    const bounds = canvas.current!.getBoundingClientRect();
    const point = fitted.current?.projection.invert?.([event.clientX - bounds.left, event.clientY - bounds.top]);
    if (!point) return null;
    return tiles.find(({ shape }) => geoContains(shape, point))?.index ?? null;
  };
  const go = (position: number): void => {
    focus.value = position;
    spoken.value = speak(tiles[position]!.index);
  };
  const toggle = (tile: number): void => {
    view.toggleTile(tile);
    spoken.value = speak(tile);
  };
  const onKey = (event: KeyboardEvent): void => {
    const directions: Record<string, [number, number]> = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
    };
    const direction = directions[event.key];
    if (direction) go(neighbour(order, tiles, focus.value, direction));
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(tiles.length - 1);
    else if (event.key === "Enter" || event.key === " ") toggle(tiles[focus.value]!.index);
    else if (event.key === "Escape") view.sought.value = "";
    else return;
    event.preventDefault();
  };

  const sum = hover.value ? sums.value[hover.value.tile]! : null;
  return (
    <>
    <p class="map-tools">
      <span class="pair">
        <label for={id}>Colour</label>
        <select id={id} value={mode.value} onChange={(event) => (mode.value = event.currentTarget.value as Mode)}>
          {Object.entries(MODES).map(([value, text]) =>
            value !== "clear" || knowsClear ? (
              <option key={value} value={value}>
                {text}
              </option>
            ) : null,
          )}
        </select>
      </span>
      {(mode.value === "done" || mode.value === "clear") && (
        <span class="ramp">
          0 % <i aria-hidden="true" /> 100 %
        </span>
      )}
    </p>
    <div
      class="map"
      ref={box}
      tabIndex={0}
      role="application"
      aria-roledescription="map of tiles"
      aria-label={`Map of ${counted(tiles.length, "tile")}`}
      aria-describedby="map-help"
      onKeyDown={onKey}
      onFocus={() => {
        hasFocus.value = true;
        go(focus.value);
      }}
      onBlur={() => (hasFocus.value = false)}
      onMouseMove={(event) => {
        const tile = tileAt(event);
        const bounds = box.current!.getBoundingClientRect();
        hover.value = tile === null ? null : { tile, x: event.clientX - bounds.left, y: event.clientY - bounds.top };
      }}
      onMouseLeave={() => (hover.value = null)}
      onClick={(event) => {
        const tile = tileAt(event);
        if (tile === null) return;
        focus.value = tiles.findIndex(({ index }) => index === tile);
        toggle(tile);
      }}
    >
      <canvas ref={canvas} aria-hidden="true" style={{ height: `${HEIGHT}px` }} />
      {hover.value && sum && (
        <div
          class={`tip ${hover.value.x > (box.current?.clientWidth ?? 0) * 0.6 ? "tip-left" : ""}`}
          style={{ left: `${hover.value.x}px`, top: `${hover.value.y}px` }}
          aria-hidden="true"
        >
          <b>{order.model.tiles.label[hover.value.tile]}</b> {percent(sum.done, sum.total)} done
          <ul>
            {order.model.states.map(({ code, name }, index) =>
              sum.counts[index] ? (
                <li key={code}>
                  <Swatch code={code} /> {name} {count(sum.counts[index]!)}
                </li>
              ) : null,
            )}
          </ul>
        </div>
      )}
      <p class="hint" id="map-help">
        Click tiles, or move with the arrow keys and press Enter, to see theirs alone.
      </p>
      <p class="visually-hidden" role="status" data-testid="map-live">
        {spoken.value}
      </p>
    </div>
    </>
  );
}

/** A colour, and what is written upon it. */
interface Paint {
  fill: string;
  ink: string;
  text: string;
}

function paintOf(mode: Mode, sum: Summary, clear: number | null): Paint {
  if (mode === "worst" || mode === "most") {
    const code = mode === "worst" ? sum.worst : sum.most;
    return code ? { ...stateColour(code), text: code } : { fill: colour("--land"), ink: colour("--muted"), text: "" };
  }
  const share = mode === "done" ? (sum.total ? sum.done / sum.total : null) : clear === null ? null : clear / 100;
  if (share === null) return { fill: colour("--land"), ink: colour("--muted"), text: "?" };
  const fill = share < 0.5 ? mix("--ramp-0", "--ramp-1", share * 2) : mix("--ramp-1", "--ramp-2", share * 2 - 1);
  const [r, g, b] = fill.match(/\d+/g)!.map(Number) as [number, number, number];
  const ink = 0.3 * r + 0.6 * g + 0.1 * b > 130 ? "#101416" : "#ffffff";
  return { fill, ink, text: String(share === 1 || share === 0 ? share * 100 : Math.min(99, Math.max(1, Math.round(100 * share)))) };
}

function mix(from: string, to: string, part: number): string {
  const parse = (name: string): number[] => colour(name).match(/[\da-f]{2}/gi)!.map((hex) => parseInt(hex, 16));
  const [a, b] = [parse(from), parse(to)];
  return `rgb(${a.map((value, i) => Math.round(value + (b[i]! - value) * part)).join(",")})`;
}

/** Median clear part of each tile's acquisitions, in percent. */
function clearness(order: Order): (number | null)[] {
  const { task, clear, cloud } = order.model.acquisitions;
  const found = order.model.tiles.label.map((): number[] => []);
  if (!order.model.product) return found.map(() => null);
  task.forEach((one, i) => {
    const covered = cloud[i];
    const value = clear[i] ?? (covered == null ? null : 100 - covered);
    if (value !== null) found[order.axes(one)[1]]!.push(value);
  });
  return found.map((values) => median(values) ?? null);
}

function shapes(order: Order): Tile[] {
  return order.model.tiles.ring.flatMap((ring, index) => {
    if (!ring) return [];
    const points: [number, number][] = [];
    for (let at = 0; at < ring.length; at += 2) points.push([ring[at]!, ring[at + 1]!]);
    const shape: ExtendedFeature = {
      type: "Feature",
      properties: null,
      geometry: { type: "Polygon", coordinates: [[...points, points[0]!]] },
    };
    return [{ index, shape, middle: geoCentroid({ type: "MultiPoint", coordinates: points }) }];
  });
}

function summaries(view: View): Summary[] {
  const { order } = view;
  const { states, tiles } = order.model;
  void order.version.value;
  const matches = view.matches.value;
  // The choice of tiles does not empty the other tiles.
  const byTile = view.tiles.value !== null;
  const found: Summary[] = tiles.label.map(() => ({ counts: states.map(() => 0), worst: "", most: "", done: 0, total: 0 }));
  const allowed = byTile ? null : matches;
  for (let task = 0; task < order.n; task += 1) {
    if (allowed && !allowed[task]) continue;
    const place = order.place(task);
    if (!place) continue;
    if (byTile && !view.passes(task, place.collection)) continue;
    const sum = found[place.tile]!;
    const state = order.state[task]!;
    const { code } = states[state]!;
    sum.counts[state]! += 1;
    sum.total += 1;
    if (code === "C" || code === "E") sum.done += 1;
    if (sum.most === "" || sum.counts[state]! > sum.counts[order.code[sum.most]!]!) sum.most = code;
    if (sum.worst === "" || order.rank[state]! < order.rank[order.code[sum.worst]!]!) sum.worst = code;
  }
  return found;
}

function neighbour(order: Order, tiles: Tile[], from: number, [down, right]: [number, number]): number {
  const [row, col] = order.model.tiles.index[tiles[from]!.index]!;
  let best = from;
  let nearest = Infinity;
  tiles.forEach((tile, position) => {
    const [r, c] = order.model.tiles.index[tile.index]!;
    const [along, across] = down ? [(r - row) * down, Math.abs(c - col)] : [(c - col) * right, Math.abs(r - row)];
    const distance = along > 0 ? along + 3 * across : Infinity;
    if (distance < nearest) [nearest, best] = [distance, position];
  });
  return best;
}

function drawTile(
  context: CanvasRenderingContext2D,
  path: GeoPath,
  projection: GeoProjection,
  tile: Tile,
  faded: boolean,
  { fill, ink, text }: Paint,
): void {
  context.beginPath();
  path(tile.shape);
  context.globalAlpha = faded ? 0.22 : 0.88;
  context.fillStyle = fill;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colour("--tile-edge");
  context.lineWidth = 0.7;
  context.stroke();
  const [[left, top], [right, bottom]] = path.bounds(tile.shape);
  const side = Math.min(right - left, bottom - top);
  const middle = projection(tile.middle);
  if (side > 15 && !faded && middle) {
    context.fillStyle = ink;
    context.font = `600 ${side > 60 ? 14 : 10.5}px ui-sans-serif, system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, middle[0], middle[1]);
  }
}

function stroke(context: CanvasRenderingContext2D, path: GeoPath, tile: Tile, ink: string, width: number): void {
  context.beginPath();
  path(tile.shape);
  context.strokeStyle = ink;
  context.lineWidth = width;
  context.stroke();
}
