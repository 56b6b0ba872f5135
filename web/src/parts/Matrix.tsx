// Tiles x periods, a cell each task, coloured by its state. Only what is in sight is drawn, so that
// 100,000 tasks are as quick as a hundred.
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { useCanvas } from "./canvas";
import { counted, day } from "./format";
import type { Order, View } from "./order";
import { drawState, Swatch } from "./states";
import { colour } from "./theme";

interface Cell {
  row: number;
  col: number;
}

/** Which task is where: rows are tiles of a collection, columns periods; else tasks by their number. */
interface Layout {
  rows: number;
  cols: number;
  task(cell: Cell): number;
  cell(task: number): Cell | null;
  row(index: number): string;
  col(index: number): string;
}

const HEAD = 24;
const HIGHEST = 460;
const PER_ROW = 100;
const ZOOMS = [1, 1.5, 2, 3, 4, 6, 8, 12];

export function Matrix({ view, onOpen }: { view: View; onOpen?: (task: number) => void }) {
  const { order } = view;
  const canvas = useRef<HTMLCanvasElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const zoom = useSignal(0);
  const size = useSignal(0);
  const focus = useSignal<Cell>({ row: 0, col: 0 });
  const hover = useSignal<{ task: number; x: number; y: number } | null>(null);
  const hasFocus = useSignal(false);
  const spoken = useSignal("");
  const layout = useComputed(() => layOut(view));
  const geometry = useComputed(() => {
    const { rows, cols, row } = layout.value;
    const longest = Math.max(...sample(rows).map((index) => row(index).length), 4);
    const gutter = Math.min(Math.round(longest * 6.6) + 14, Math.max(size.value * 0.4, 70));
    const factor = ZOOMS[zoom.value]!;
    const fitting = Math.min((size.value - gutter - 2) / Math.max(cols, 1), 56);
    const w = clamp(Math.max(fitting, 3) * factor, 3, 72);
    const h = clamp(clamp(HIGHEST / Math.max(rows, 1), 4, 22) * factor, 4, 36);
    return { gutter, w, h, width: gutter + w * cols, height: HEAD + h * rows };
  });

  const ask = useCanvas(
    canvas,
    (context, width, height) => {
      void order.version.value;
      const box = scroller.current;
      const mark = hasFocus.value ? focus.value : null;
      const state: Drawing = {
        view,
        layout: layout.value,
        geometry: geometry.value,
        matches: view.matches.value,
        selected: view.selected.value,
        mark,
        left: box?.scrollLeft ?? 0,
        top: box?.scrollTop ?? 0,
      };
      if (width) drawMatrix(context, width, height, state);
    },
    view,
  );

  useEffect(() => {
    const box = scroller.current!;
    const observer = new ResizeObserver(() => (size.value = box.clientWidth));
    observer.observe(box);
    size.value = box.clientWidth;
    return () => observer.disconnect();
  }, [view]);

  const cellAt = (event: MouseEvent): Cell | null => {
    const box = scroller.current!;
    const bounds = box.getBoundingClientRect();
    const { gutter, w, h } = geometry.value;
    const x = event.clientX - bounds.left;
    const y = event.clientY - bounds.top;
    if (x < gutter || y < HEAD) return null;
    const cell = { row: Math.floor((y - HEAD + box.scrollTop) / h), col: Math.floor((x - gutter + box.scrollLeft) / w) };
    return layout.value.task(cell) >= 0 ? cell : null;
  };

  const go = (cell: Cell): void => {
    const { rows, cols } = layout.value;
    if (rows === 0) return;
    const next = { row: clamp(cell.row, 0, rows - 1), col: clamp(cell.col, 0, cols - 1) };
    focus.value = next;
    const task = layout.value.task(next);
    if (task >= 0) spoken.value = speak(order, task, layout.value, next);
    reveal(scroller.current!, next, geometry.value);
  };

  const open = (cell: Cell): void => {
    const task = layout.value.task(cell);
    if (task < 0) return;
    view.selected.value = task;
    onOpen?.(task);
  };

  const onKey = (event: KeyboardEvent): void => {
    const { row, col } = focus.value;
    const { rows, cols } = layout.value;
    const page = Math.max(1, Math.floor(HIGHEST / geometry.value.h) - 1);
    const moves: Record<string, Cell> = {
      ArrowUp: { row: row - 1, col },
      ArrowDown: { row: row + 1, col },
      ArrowLeft: { row, col: col - 1 },
      ArrowRight: { row, col: col + 1 },
      PageUp: { row: row - page, col },
      PageDown: { row: row + page, col },
      Home: { row: event.ctrlKey ? 0 : row, col: 0 },
      End: { row: event.ctrlKey ? rows - 1 : row, col: cols - 1 },
    };
    if (moves[event.key]) go(moves[event.key]!);
    else if (event.key === "Enter" || event.key === " ") open(focus.value);
    else if (event.key === "f" || event.key === "F") go(nextFailure(view, layout.value, focus.value, event.key === "F"));
    else if (event.key === "+") zoom.value = Math.min(zoom.value + 1, ZOOMS.length - 1);
    else if (event.key === "-") zoom.value = Math.max(zoom.value - 1, 0);
    else return;
    event.preventDefault();
  };

  const { width, height } = geometry.value;
  const pictured = hover.value ? order.quicklooks(hover.value.task)[0] : undefined;
  return (
    <div class="matrix">
      <div class="matrix-tools">
        <p class="hint" id="matrix-help">
          Click a cell, or move with the arrow keys and press Enter; F goes to the next failure.
        </p>
        <div class="buttons">
          <button type="button" aria-label="Smaller cells" disabled={zoom.value === 0} onClick={() => (zoom.value -= 1)}>
            −
          </button>
          <button
            type="button"
            aria-label="Larger cells"
            disabled={zoom.value === ZOOMS.length - 1}
            onClick={() => (zoom.value += 1)}
          >
            +
          </button>
        </div>
      </div>
      <div class="matrix-box" style={{ height: `${Math.min(height, HIGHEST + HEAD) + 14}px` }}>
        <canvas ref={canvas} aria-hidden="true" />
        <div
          ref={scroller}
          class="matrix-scroller"
          tabIndex={0}
          role="application"
          aria-roledescription="matrix of tasks"
          aria-label={`Tasks of ${order.model.name}: ${counted(layout.value.rows, "row")}, ${counted(layout.value.cols, "column")}`}
          aria-describedby="matrix-help"
          onScroll={() => {
            hover.value = null;
            ask();
          }}
          onKeyDown={onKey}
          onFocus={() => {
            hasFocus.value = true;
            go(focus.value);
          }}
          onBlur={() => (hasFocus.value = false)}
          onMouseMove={(event) => {
            const cell = cellAt(event);
            const bounds = scroller.current!.getBoundingClientRect();
            hover.value = cell && {
              task: layout.value.task(cell),
              x: event.clientX - bounds.left,
              y: event.clientY - bounds.top,
            };
          }}
          onMouseLeave={() => (hover.value = null)}
          onClick={(event) => {
            const cell = cellAt(event);
            if (!cell) return;
            go(cell);
            open(cell);
          }}
        >
          <div style={{ width: `${width}px`, height: `${height}px` }} />
        </div>
        {hover.value && (
          <div
            class={`tip ${hover.value.x > size.value * 0.6 ? "tip-left" : ""}`}
            style={{ left: `${hover.value.x}px`, top: `${hover.value.y}px` }}
            aria-hidden="true"
          >
            <Swatch code={order.letter(hover.value.task)} /> {order.describe(hover.value.task)}
            {pictured && <img src={pictured.src} alt="" />}
          </div>
        )}
      </div>
      <p class="visually-hidden" role="status" data-testid="matrix-live">
        {spoken.value}
      </p>
    </div>
  );
}

function layOut(view: View): Layout {
  const { order } = view;
  if (!order.model.product) return byNumber(order);
  const rows = view.rows.value;
  const { periods, tiles } = order.model;
  const index = new Map(rows.map(({ collection, tile }, row) => [collection * tiles.label.length + tile, row]));
  return {
    rows: rows.length,
    cols: periods.length,
    task({ row, col }) {
      const place = rows[row];
      return place && col >= 0 && col < periods.length ? order.task({ ...place, period: col }) : -1;
    },
    cell(task) {
      const place = order.place(task)!;
      const row = index.get(place.collection * tiles.label.length + place.tile);
      return row === undefined ? null : { row, col: place.period };
    },
    row(at) {
      const { collection, tile } = rows[at]!;
      const name = order.collection(collection);
      return name ? `${tiles.label[tile]} ${shortened(name)}` : tiles.label[tile]!;
    },
    col: (at) => order.period(at),
  };
}

/** Tasks that are not one for each collection, tile and period: a hundred a row. */
function byNumber(order: Order): Layout {
  const cols = Math.min(order.n, PER_ROW);
  return {
    rows: Math.ceil(order.n / PER_ROW),
    cols,
    task: ({ row, col }) => {
      const task = row * PER_ROW + col;
      return row >= 0 && col >= 0 && col < cols && task < order.n ? task : -1;
    },
    cell: (task) => ({ row: Math.floor(task / PER_ROW), col: task % PER_ROW }),
    row: (at) => `from ${at * PER_ROW}`,
    col: (at) => `+${at}`,
  };
}

/** The middle of an id says most: `LANDSAT/LC08/C02/T1_L2` is `LC08`, `COPERNICUS/S2_SR_HARMONIZED` `S2_SR`. */
export function shortened(collection: string): string {
  const parts = collection.split("/");
  const part = parts.length > 2 ? parts[1]! : parts[parts.length - 1]!;
  const words = part.length > 8 ? part.split("_").slice(0, 2).join("_") : part;
  return words.length > 10 ? `${words.slice(0, 9)}…` : words;
}

interface Drawing {
  view: View;
  layout: Layout;
  geometry: { gutter: number; w: number; h: number };
  matches: Uint8Array;
  selected: number;
  mark: Cell | null;
  left: number;
  top: number;
}

function drawMatrix(context: CanvasRenderingContext2D, width: number, height: number, drawing: Drawing): void {
  const { layout, geometry, left, top } = drawing;
  const { gutter, w, h } = geometry;
  const first = { row: Math.floor(top / h), col: Math.floor(left / w) };
  const last = {
    row: Math.min(layout.rows, Math.ceil((top + height - HEAD) / h)),
    col: Math.min(layout.cols, Math.ceil((left + width - gutter) / w)),
  };
  context.save();
  context.beginPath();
  context.rect(gutter - 3, HEAD - 3, width - gutter + 3, height - HEAD + 3);
  context.clip();
  for (let row = first.row; row < last.row; row += 1) drawRow(context, drawing, row, first.col, last.col);
  // What is half out of sight does not cover the labels.
  if (left % w) context.clearRect(gutter - 3, HEAD - 3, 3, height);
  if (top % h) context.clearRect(gutter - 3, HEAD - 3, width, 3);
  outline(context, drawing, layout.cell(drawing.selected), colour("--ink"), 2);
  outline(context, drawing, drawing.mark, colour("--focus"), 3);
  context.restore();
  drawLabels(context, drawing, first, last, width);
}

function drawRow(context: CanvasRenderingContext2D, drawing: Drawing, row: number, from: number, to: number): void {
  const { view, layout, geometry, matches, left, top } = drawing;
  const { gutter, w, h } = geometry;
  const [gapX, gapY] = [w >= 6 ? 1 : 0, h >= 6 ? 1 : 0];
  const y = HEAD + row * h - top;
  const codes = view.order.model.states;
  let col = from;
  while (col < to) {
    const task = layout.task({ row, col });
    if (task < 0) break;
    const state = view.order.state[task]!;
    const match = matches[task]!;
    let end = col + 1;
    // Small cells have no gap: those of one state are one rectangle.
    while (gapX === 0 && end < to) {
      const next = layout.task({ row, col: end });
      if (next < 0 || view.order.state[next] !== state || matches[next] !== match) break;
      end += 1;
    }
    context.globalAlpha = match ? 1 : 0.12;
    drawState(context, codes[state]!.code, gutter + col * w - left, y, (end - col) * w - gapX, h - gapY);
    col = end;
  }
  context.globalAlpha = 1;
}

function outline(
  context: CanvasRenderingContext2D,
  { layout, geometry, left, top }: Drawing,
  cell: Cell | null,
  ink: string,
  line: number,
): void {
  if (!cell || layout.task(cell) < 0) return;
  const { gutter, w, h } = geometry;
  const pad = line / 2;
  context.lineWidth = line;
  context.strokeStyle = ink;
  context.strokeRect(gutter + cell.col * w - left - pad, HEAD + cell.row * h - top - pad, w + line - 1, h + line - 1);
}

function drawLabels(context: CanvasRenderingContext2D, drawing: Drawing, first: Cell, last: Cell, width: number): void {
  const { layout, geometry, left, top } = drawing;
  const { gutter, w, h } = geometry;
  context.fillStyle = colour("--muted");
  context.font = "11px ui-sans-serif, system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "right";
  const every = Math.ceil(13 / h);
  context.save();
  context.beginPath();
  context.rect(0, HEAD - 6, gutter, 1e5);
  context.clip();
  for (let row = Math.ceil(first.row / every) * every; row < last.row; row += every) {
    context.fillText(layout.row(row), gutter - 6, HEAD + (row + 0.5) * h - top, gutter - 8);
  }
  context.restore();
  context.textAlign = "left";
  const longest = Math.max(...sample(layout.cols).map((col) => context.measureText(layout.col(col)).width), 20);
  const step = Math.max(1, Math.ceil((longest + 12) / w));
  for (let col = Math.ceil(first.col / step) * step; col < last.col; col += step) {
    const x = gutter + col * w - left;
    if (x < gutter - 1) continue;
    const text = layout.col(col);
    if (x + context.measureText(text).width > width) break;
    context.fillText(text, x + 1, HEAD / 2);
    context.fillRect(x, HEAD - 5, 1, 4);
  }
}

function reveal(box: HTMLDivElement, cell: Cell, { gutter, w, h }: { gutter: number; w: number; h: number }): void {
  const [x, y] = [cell.col * w, cell.row * h];
  const [wide, high] = [box.clientWidth - gutter, box.clientHeight - HEAD];
  if (x < box.scrollLeft) box.scrollLeft = x;
  else if (x + w > box.scrollLeft + wide) box.scrollLeft = x + w - wide;
  if (y < box.scrollTop) box.scrollTop = y;
  else if (y + h > box.scrollTop + high) box.scrollTop = y + h - high;
}

function nextFailure(view: View, layout: Layout, from: Cell, backwards: boolean): Cell {
  const { order } = view;
  const total = layout.rows * layout.cols;
  const start = from.row * layout.cols + from.col;
  for (let step = 1; step <= total; step += 1) {
    const at = (start + (backwards ? total - step : step)) % total;
    const cell = { row: Math.floor(at / layout.cols), col: at % layout.cols };
    const task = layout.task(cell);
    if (task >= 0 && "FL".includes(order.letter(task))) return cell;
  }
  return from;
}

function speak(order: Order, task: number, layout: Layout, cell: Cell): string {
  const cause = order.causes.get(task);
  const dates = order.acquisitions(task);
  const seen = dates.length
    ? `, ${counted(dates.length, "acquisition")} from ${day(Math.min(...dates.map((one) => one.day)))}`
    : "";
  const where = `row ${cell.row + 1} of ${layout.rows}, column ${cell.col + 1} of ${layout.cols}`;
  return `${order.describe(task)}${cause ? `, ${cause}` : ""}${seen}; ${where}`;
}

/** Some of so many: the first, the last and one between. */
function sample(n: number): number[] {
  return n ? [0, n >> 1, n - 1] : [];
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}
