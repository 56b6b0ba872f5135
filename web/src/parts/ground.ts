// What a map of tiles lies on: land and borders, a graticule with degrees, a scale, a small globe.
import {
  type ExtendedFeature,
  geoAzimuthalEqualArea,
  geoCentroid,
  geoDistance,
  geoGraticule,
  geoOrthographic,
  geoPath,
  type GeoPath,
  type GeoProjection,
} from "d3-geo";
import { feature, mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import atlas from "world-atlas/countries-110m.json";
import { degrees } from "./format";
import { colour } from "./theme";

type World = Topology<{ countries: GeometryCollection; land: GeometryCollection }>;
const world = atlas as unknown as World;
const land = feature(world, world.objects.land);
const borders = mesh(world, world.objects.countries, (a, b) => a !== b);

export interface Tile {
  index: number;
  shape: ExtendedFeature;
  /** Longitude and latitude of the middle. */
  middle: [number, number];
}

/** The projection that shows all tiles, by way of their middle. */
export function fit(tiles: Tile[], width: number, height: number): GeoProjection {
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

export function drawGround(
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

const EARTH_KM = 6371;

export function drawScale(context: CanvasRenderingContext2D, projection: GeoProjection, width: number, height: number): void {
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
export function drawGlobe(context: CanvasRenderingContext2D, tiles: Tile[], width: number, height: number): void {
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
