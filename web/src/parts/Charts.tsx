// Acquisitions per month; clear fraction through time.
import { extent, max, mean, median } from "d3-array";
import { scaleLinear, scaleUtc } from "d3-scale";
import { line } from "d3-shape";
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { count, counted, day as dayText } from "./format";
import { shortened } from "./Matrix";
import type { View } from "./order";

const DAY = 86_400_000;
const MARGIN = { left: 44, right: 12, top: 12, bottom: 26 };
const HEIGHT = 220;

/** The width of what a chart is in, in pixels. */
function useWidth(key: unknown) {
  const box = useRef<HTMLDivElement>(null);
  const width = useSignal(600);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => (width.value = Math.max(element.clientWidth, 240)));
    observer.observe(element);
    width.value = Math.max(element.clientWidth, 240);
    return () => observer.disconnect();
  }, [key]);
  return { box, width: width.value };
}

interface Month {
  start: number;
  end: number;
  /** Acquisitions of each collection. */
  counts: number[];
}

/** Room for the name of a month, in pixels. */
const LABEL = 84;

/** Acquisitions per month of what passes the filters. */
export function Monthly({ view }: { view: View }) {
  const { order } = view;
  const months = useComputed(() => byMonth(view)).value;
  const { box, width } = useWidth(months.length > 0);
  const at = useSignal(-1);
  const { collections } = order.model;
  const top = max(months, ({ counts }) => counts.reduce((a, b) => a + b, 0)) ?? 0;
  if (months.length === 0) return <NoDates view={view} />;
  const x = scaleUtc([months[0]!.start, months[months.length - 1]!.end], [MARGIN.left, width - MARGIN.right]);
  const y = scaleLinear([0, top], [HEIGHT - MARGIN.bottom, MARGIN.top]).nice(4);
  const wide = (start: number, end: number): number => Math.max(Math.min(x(end) - x(start) - 1, 44), 0.6);
  const shown = months[at.value];
  return (
    <div ref={box} class="chart">
      <svg
        width={width}
        height={HEIGHT}
        role="img"
        aria-label={`Acquisitions per month: ${counted(months.length, "month")}, at most ${count(top)}`}
        onMouseMove={(event) => {
          const moment = x.invert(event.clientX - event.currentTarget.getBoundingClientRect().left).getTime();
          at.value = months.findIndex(({ start, end }) => moment >= start && moment < end);
        }}
        onMouseLeave={() => (at.value = -1)}
      >
        <Axes
          x={x}
          y={y}
          width={width}
          ticks={Math.min(4, top)}
          format={count}
          marks={months
            .filter((_, index) => index % Math.ceil((months.length * LABEL) / width) === 0)
            .map(({ start, end }) => [(start + end) / 2, monthText(start)])}
        />
        {months.map(({ start, end, counts }, index) => {
          let base = 0;
          return counts.map((value, collection) => {
            const bar = (
              <rect
                key={`${index}-${collection}`}
                class={`series-${collection % 6} ${at.value === index ? "hot" : ""}`}
                x={(x(start) + x(end) - wide(start, end)) / 2}
                width={wide(start, end)}
                y={y(base + value)}
                height={y(base) - y(base + value)}
              />
            );
            base += value;
            return value ? bar : null;
          });
        })}
      </svg>
      <p class="chart-note" aria-hidden="true">
        {shown
          ? `${monthText(shown.start)}: ${shown.counts
              .map((value, index) => (collections.length > 1 ? `${shortened(collections[index]!)} ${count(value)}` : count(value)))
              .join(", ")}`
          : " "}
      </p>
      {collections.length > 1 && (
        <ul class="legend">
          {collections.map((name, index) => (
            <li key={name}>
              <svg width="12" height="12" aria-hidden="true">
                <rect class={`series-${index % 6}`} width="12" height="12" />
              </svg>
              {name}
            </li>
          ))}
        </ul>
      )}
      <Details
        head={["Month", ...collections]}
        rows={months.map(({ start, counts }) => [monthText(start), ...counts.map(count)])}
      />
    </div>
  );
}

/** `2023-04` */
function monthText(moment: number): string {
  return dayText(moment / DAY).slice(0, 7);
}

function byMonth(view: View): Month[] {
  const { task, day } = view.order.model.acquisitions;
  const matches = view.matches.value;
  const collections = view.order.model.collections.length;
  const found = new Map<number, number[]>();
  task.forEach((one, i) => {
    if (!matches[one]) return;
    const date = new Date(day[i]! * DAY);
    const month = date.getUTCFullYear() * 12 + date.getUTCMonth();
    const counts = found.get(month) ?? new Array<number>(collections).fill(0);
    const collection = view.order.model.product ? view.order.axes(one)[0] : 0;
    counts[collection] = (counts[collection] ?? 0) + 1;
    found.set(month, counts);
  });
  const [first, last] = extent(found.keys());
  if (first === undefined || last === undefined) return [];
  const months = [];
  for (let month = first; month <= last; month += 1) {
    months.push({
      start: Date.UTC(Math.floor(month / 12), month % 12),
      end: Date.UTC(Math.floor(month / 12), (month % 12) + 1),
      counts: found.get(month) ?? new Array<number>(collections).fill(0),
    });
  }
  return months;
}

interface Point {
  day: number;
  value: number;
  tile: number;
  task: number;
}

const MOST = 20_000;
/** Days: of shorter times, months would say nothing. */
const SHORT = 120;

/** Clear fraction of every acquisition, and of one tile through time. */
export function Clear({ view }: { view: View }) {
  const { order } = view;
  const { tiles } = order.model;
  const id = useId();
  const chosen = useSignal(-1);
  const { points, measured } = useComputed(() => clearPoints(view)).value;
  const { box, width } = useWidth(points.length > 0);
  if (points.length === 0) return <NoDates view={view} clear />;
  const [only] = view.tiles.value?.size === 1 ? [...view.tiles.value] : [chosen.value];
  const [first, last] = extent(points, ({ day }) => day * DAY) as [number, number];
  const x = scaleUtc([first - DAY, last + DAY], [MARGIN.left, width - MARGIN.right]);
  const y = scaleLinear([0, 100], [HEIGHT - MARGIN.bottom, MARGIN.top]);
  const mine = points.filter(({ tile }) => tile === only).sort((a, b) => a.day - b.day);
  const dots = (some: Point[]): string => some.map(({ day, value }) => `M${x(day * DAY).toFixed(1)},${y(value).toFixed(1)}h0`).join("");
  const daily = last - first < SHORT * DAY;
  const middle = medians(only! >= 0 ? mine : points, daily);
  const track = line<[number, number]>(
    ([moment]) => x(moment),
    ([, value]) => y(value),
  );
  const of = only! >= 0 ? tiles.label[only!] : "all tiles";
  return (
    <div ref={box} class="chart">
      <p class="chart-tools">
        <label for={id}>Tile</label>
        <select id={id} value={only} onChange={(event) => (chosen.value = Number(event.currentTarget.value))}>
          <option value={-1}>all tiles</option>
          {tiles.label.map((label, index) => (
            <option key={label} value={index}>
              {label}
            </option>
          ))}
        </select>
        <span class="muted small">
          {SOURCES[measured]}
        </span>
      </p>
      <svg width={width} height={HEIGHT} role="img" aria-label={`Clear fraction of ${counted(points.length, "acquisition")}, ${of}: median ${Math.round(median(only! >= 0 ? mine : points, ({ value }) => value) ?? 0)} %`}>
        <Axes x={x} y={y} width={width} ticks={4} format={(value) => `${value} %`} />
        <path class={points.length < 300 ? "dots dots-few" : "dots"} d={dots(points)} />
        {only! >= 0 && <path class="dots dots-chosen" d={dots(mine)} />}
        <path class="median" d={track(middle) ?? ""} />
      </svg>
      <p class="chart-note muted" aria-hidden="true">
        Dots: acquisitions. Line: {daily ? "daily" : "monthly"} median of {of}.
      </p>
      <Details
        head={[daily ? "Day" : "Month", "Median clear"]}
        rows={middle.map(([moment, value]) => [
          dayText(Math.floor(moment / DAY)).slice(0, daily ? 10 : 7),
          `${Math.round(value)} %`,
        ])}
      />
    </div>
  );
}

/** Where the clear fractions are from, by how many of them cubes tell. */
const SOURCES = {
  all: "clear part of the tile, as measured in the cubes",
  some: "clear part of the tile, as measured in the cubes; where none tells, 100 % less the cloud cover of the scenes' metadata",
  none: "100 % less the cloud cover that the scenes' metadata tell",
};

function clearPoints(view: View): { points: Point[]; measured: keyof typeof SOURCES } {
  const { order } = view;
  const { task, day, clear, cloud } = order.model.acquisitions;
  const matches = view.matches.value;
  let measured = 0;
  const every = Math.max(1, Math.ceil(task.length / MOST));
  const points: Point[] = [];
  for (let i = 0; i < task.length; i += every) {
    const covered = cloud[i];
    const value = clear[i] ?? (covered == null ? null : 100 - covered);
    const one = task[i]!;
    if (value === null || !matches[one]) continue;
    measured += clear[i] == null ? 0 : 1;
    points.push({ day: day[i]!, value, tile: order.axes(one)[1], task: one });
  }
  return { points, measured: measured === 0 ? "none" : measured < points.length ? "some" : "all" };
}

/** The median of each month (or day), at the mean day of what is in it. */
function medians(points: Point[], daily: boolean): [number, number][] {
  const bins = new Map<number, Point[]>();
  for (const point of points) {
    const date = new Date(point.day * DAY);
    const bin = daily ? point.day : Date.UTC(date.getUTCFullYear(), date.getUTCMonth());
    const found = bins.get(bin);
    if (found) found.push(point);
    else bins.set(bin, [point]);
  }
  return [...bins]
    .sort(([a], [b]) => a - b)
    .map(([, some]) => [DAY * mean(some, ({ day }) => day)!, median(some, ({ value }) => value)!]);
}

function NoDates({ view, clear }: { view: View; clear?: boolean }) {
  const { looked, task, clear: measured, cloud } = view.order.model.acquisitions;
  const told = [...measured, ...cloud].some((value) => value !== null);
  const unclear =
    view.order.model.cubes.length > 0
      ? "Nothing is known of clouds: neither a clear mask in the cubes nor the scenes' metadata tell."
      : "Nothing is known of clouds: the scenes' metadata do not tell. Cubes with a clear mask would.";
  const why =
    looked.length === 0
      ? "No result was looked into."
      : task.length === 0
        ? "No acquisition is known."
        : clear && !told
          ? unclear
          : "No acquisition passes the filters.";
  return <p class="muted">{why}</p>;
}

function Axes({
  x,
  y,
  width,
  ticks,
  format,
  marks,
}: {
  x: ReturnType<typeof scaleUtc<number, number>>;
  y: ReturnType<typeof scaleLinear<number, number>>;
  width: number;
  ticks: number;
  format: (value: number) => string;
  /** Moments and their labels, where round ones would not do. */
  marks?: [number, string][];
}) {
  const text = x.tickFormat();
  const shown = marks ?? x.ticks(Math.max(2, Math.floor(width / 90))).map((moment): [number, string] => [+moment, text(moment)]);
  return (
    <g class="axes">
      {y.ticks(Math.max(ticks, 1)).map((value) => (
        <g key={value}>
          <line x1={MARGIN.left} x2={width - MARGIN.right} y1={y(value)} y2={y(value)} />
          <text x={MARGIN.left - 6} y={y(value)} text-anchor="end" dominant-baseline="middle">
            {format(value)}
          </text>
        </g>
      ))}
      {shown.map(([moment, label]) => {
        const at = x(moment);
        return at < width - MARGIN.right - 22 ? (
          <g key={moment}>
            <line class="tick" x1={at} x2={at} y1={HEIGHT - MARGIN.bottom} y2={HEIGHT - MARGIN.bottom + 4} />
            <text x={at} y={HEIGHT - 8} text-anchor={at < MARGIN.left + 20 ? "start" : "middle"}>
              {label}
            </text>
          </g>
        ) : null;
      })}
    </g>
  );
}

/** The numbers of a chart, for whoever cannot see it. */
function Details({ head, rows }: { head: string[]; rows: (string | number)[][] }) {
  const open = useSignal(false);
  return (
    <details onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>As a table</summary>
      {open.value && (
        <div class="scroll" tabIndex={0} role="region" aria-label={`Numbers: ${head.join(", ")}`}>
          <table>
            <thead>
              <tr>
                {head.map((text) => (
                  <th scope="col" key={text}>
                    {text}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row, index) => (
                <tr key={index}>
                  {row.map((cell, at) => (
                    <td key={at}>{cell}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}
