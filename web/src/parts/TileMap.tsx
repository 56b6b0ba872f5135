// The tiles on a map that needs no network: coastlines, borders, a graticule, a small globe.
import { type ExtendedFeature, geoAzimuthalEqualArea, geoCentroid, geoGraticule, geoOrthographic, geoPath, type GeoPath, type GeoProjection, geoDistance, geoContains } from "d3-geo";
import { useComputed, useSignal } from "@preact/signals";
import { useId, useRef } from "preact/hooks";
import { median } from "d3-array";
import { feature, mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import atlas from "world-atlas/countries-110m.json";
import { useCanvas } from "./canvas";
import { count, degrees, percent } from "./format";
import type { Order, View } from "./order";
import { Swatch } from "./states";
import { colour, stateColour } from "./theme";

type World = Topology<{ countries: GeometryCollection; land: GeometryCollection }>;
const world = atlas as unknown as World;
const land = feature(world, world.objects.land);
const borders = mesh(world, world.objects.countries, (a, b) => a !== b);

interface Tile {
  index: number;
  shape: ExtendedFeature;
  /** Longitude and latitude of the middle. */
  middle: [number, number];
}

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
        const faded = sum.total === 0 || (chosen.size > 0 && !chosen.has(tile.index));
        drawTile(context, path, projection, tile, faded, paintOf(how, sum, shares[tile.index] ?? null));
      }
      for (const tile of tiles) {
        if (chosen.has(tile.index)) stroke(context, path, tile, colour("--ink"), 2);
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
    const chosen = view.tiles.value.has(tile) ? ", chosen" : "";
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
    else if (event.key === "Escape") view.tiles.value = new Set();
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
      aria-label={`Map of ${tiles.length} tiles`}
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
  const measured = clear.some((value) => value !== null);
  const found = order.model.tiles.label.map((): number[] => []);
  if (!order.model.product) return found.map(() => null);
  task.forEach((one, i) => {
    const covered = cloud[i];
    const value = measured ? clear[i] : covered == null ? null : 100 - covered;
    if (value != null) found[order.axes(one)[1]]!.push(value);
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
  const byTile = view.tiles.value.size > 0;
  const found: Summary[] = tiles.label.map(() => ({ counts: states.map(() => 0), worst: "", most: "", done: 0, total: 0 }));
  const allowed = byTile ? null : matches;
  for (let task = 0; task < order.n; task += 1) {
    if (allowed && !allowed[task]) continue;
    const place = order.place(task);
    if (!place) continue;
    if (byTile && !passes(view, task, place.collection)) continue;
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

function passes(view: View, task: number, collection: number): boolean {
  const { order } = view;
  return (
    (view.states.value.size === 0 || view.states.value.has(order.state[task]!)) &&
    (view.collection.value < 0 || view.collection.value === collection) &&
    (view.cause.value === null || order.causes.get(task) === view.cause.value)
  );
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

function fit(tiles: Tile[], width: number, height: number): GeoProjection {
  const middles = { type: "MultiPoint" as const, coordinates: tiles.map(({ middle }) => middle) };
  const [lon, lat] = geoCentroid(middles);
  const projection = geoAzimuthalEqualArea().rotate([-lon || 0, -lat || 0]).precision(0.3);
  const shown = { type: "FeatureCollection" as const, features: tiles.map(({ shape }) => shape) };
  const pad = Math.min(width, height) * 0.16;
  // On a phone there is no room for the globe beside the tiles.
  const top = width < 520 ? 2 * globeRadius(width, height) + 20 : pad;
  projection.fitExtent([[pad, top], [width - pad, height - pad]], shown);
  return projection.clipExtent([[-1, -1], [width + 1, height + 1]]);
}

function drawGround(
  context: CanvasRenderingContext2D,
  path: GeoPath,
  projection: GeoProjection,
  width: number,
  height: number,
): void {
  context.fillStyle = colour("--sea");
  context.fillRect(0, 0, width, height);
  context.beginPath();
  path(land);
  context.fillStyle = colour("--land");
  context.fill();
  context.strokeStyle = colour("--coast");
  context.lineWidth = 0.8;
  context.stroke();
  context.beginPath();
  path(borders);
  context.setLineDash([3, 3]);
  context.stroke();
  context.setLineDash([]);
  // Meridians come together towards the poles.
  const north = Math.abs(projection.rotate()[1]);
  const step = [graticuleStep(projection, width, Math.cos((Math.min(north, 85) * Math.PI) / 180)), graticuleStep(projection, width, 1)] as const;
  context.beginPath();
  path(geoGraticule().step([...step]).extent(inSight(projection, width, height, step[1])).precision(Math.min(step[1], 2.5))());
  context.strokeStyle = colour("--graticule");
  context.lineWidth = 0.6;
  context.stroke();
  drawDegrees(context, projection, step, width, height);
}

/** Longitudes and latitudes that can be seen: fine lines around the whole Earth would be millions. */
function inSight(projection: GeoProjection, width: number, height: number, step: number): [[number, number], [number, number]] {
  const [west, north] = [-projection.rotate()[0], -projection.rotate()[1]];
  let [dLon, dLat] = [0, 0];
  for (let k = 0; k <= 8; k += 1) {
    for (const [x, y] of [[k / 8, 0], [k / 8, 1], [0, k / 8], [1, k / 8]] as const) {
      const point = projection.invert?.([x * width, y * height]);
      if (!point || !Number.isFinite(point[0])) return [[-180, -80], [180, 80.1]];
      dLon = Math.max(dLon, Math.abs(((point[0] - west + 540) % 360) - 180));
      dLat = Math.max(dLat, Math.abs(point[1] - north));
    }
  }
  const isWide = dLon > 90 || Math.abs(north) + dLat > 85;
  if (isWide) return step >= 2 ? [[-180, -88], [180, 88.1]] : [[-180, 0], [-180, 0]];
  return [
    [west - dLon - step, north - dLat - step],
    [west + dLon + step, north + dLat + step],
  ];
}

const STEPS = [30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002];

/** Lines about 100 pixels apart. */
function graticuleStep(projection: GeoProjection, width: number, shrink: number): number {
  const degree = ((projection.scale() * Math.PI) / 180) * shrink || 1;
  const wanted = Math.max(90, width / 7) / degree;
  return STEPS.filter((step) => step >= wanted).pop() ?? STEPS[0]!;
}

function drawDegrees(
  context: CanvasRenderingContext2D,
  projection: GeoProjection,
  [stepLon, stepLat]: readonly [number, number],
  width: number,
  height: number,
): void {
  context.fillStyle = colour("--muted");
  context.font = "10px ui-sans-serif, system-ui, sans-serif";
  const corner = projection.invert?.([width / 2, height - 4]);
  const side = projection.invert?.([4, height / 2]);
  if (!corner || !side) return;
  context.textAlign = "center";
  context.textBaseline = "bottom";
  const around = Math.min(12, Math.ceil(180 / stepLon) - 1);
  for (let k = -around; k <= around; k += 1) {
    const lon = (Math.round(corner[0] / stepLon) + k) * stepLon;
    const point = projection([lon, corner[1]]);
    if (point && point[0] > 30 && point[0] < width - 30 && point[1] > height * 0.8) {
      context.fillText(degrees(((lon + 540) % 360) - 180, "E", "W"), point[0], height - 3);
    }
  }
  context.textAlign = "left";
  context.textBaseline = "middle";
  for (let k = -12; k <= 12; k += 1) {
    const lat = (Math.round(side[1] / stepLat) + k) * stepLat;
    if (Math.abs(lat) > 90) continue;
    const point = projection([side[0], lat]);
    if (point && point[1] > 12 && point[1] < height - 22) context.fillText(degrees(lat, "N", "S"), 4, point[1] - 6);
  }
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

const EARTH_KM = 6371;

function drawScale(context: CanvasRenderingContext2D, projection: GeoProjection, width: number, height: number): void {
  const [a, b] = [projection.invert?.([width / 2, height / 2]), projection.invert?.([width / 2 + 100, height / 2])];
  if (!a || !b) return;
  const km = geoDistance(a, b) * EARTH_KM;
  if (!Number.isFinite(km) || km === 0) return;
  const power = 10 ** Math.floor(Math.log10(km));
  const round = [5, 2, 1].find((step) => step * power <= km)! * power;
  const length = (100 * round) / km;
  const [x, y] = [width - length - 12, height - 22];
  context.strokeStyle = colour("--ink");
  context.fillStyle = colour("--ink");
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(x, y - 4);
  context.lineTo(x, y);
  context.lineTo(x + length, y);
  context.lineTo(x + length, y - 4);
  context.stroke();
  context.textAlign = "center";
  context.textBaseline = "bottom";
  context.font = "11px ui-sans-serif, system-ui, sans-serif";
  context.fillText(round >= 1 ? `${round} km` : `${round * 1000} m`, x + length / 2, y - 4);
}

function globeRadius(width: number, height: number): number {
  return Math.min(44, width / 10, height / 6);
}

/** Where on Earth this is. */
function drawGlobe(context: CanvasRenderingContext2D, tiles: Tile[], width: number, height: number): void {
  const radius = globeRadius(width, height);
  const [x, y] = [width - radius - 10, radius + 10];
  const [lon, lat] = geoCentroid({ type: "MultiPoint", coordinates: tiles.map(({ middle }) => middle) });
  const globe = geoOrthographic()
    .rotate([-lon || 0, -lat || 0])
    .scale(radius)
    .translate([x, y])
    .precision(0.5);
  const path = geoPath(globe, context);
  context.beginPath();
  path({ type: "Sphere" });
  context.fillStyle = colour("--globe-sea");
  context.fill();
  context.beginPath();
  path(land);
  context.fillStyle = colour("--globe-land");
  context.fill();
  context.beginPath();
  path({ type: "Sphere" });
  context.strokeStyle = colour("--coast");
  context.lineWidth = 1;
  context.stroke();
  context.fillStyle = colour("--mark");
  context.strokeStyle = colour("--paper");
  for (const { middle } of tiles.length > 400 ? tiles.filter((_, i) => i % Math.ceil(tiles.length / 400) === 0) : tiles) {
    const point = globe(middle);
    if (!point || geoDistance(middle, [lon, lat]) > Math.PI / 2) continue;
    context.beginPath();
    context.arc(point[0], point[1], tiles.length > 40 ? 1.2 : 2.2, 0, 2 * Math.PI);
    context.fill();
  }
}
