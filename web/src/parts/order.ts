// An order as the pages look at it: its model, the present states of its tasks, what is selected.
import { type ReadonlySignal, type Signal, batch, computed, signal } from "@preact/signals";
import type { Model, Packed, TaskChange } from "./model";

export interface Place {
  collection: number;
  tile: number;
  period: number;
}

export interface Acquisition {
  day: number;
  scenes: number;
  clear: number | null;
  cloud: number | null;
}

/** A filter by a name that an order has not. */
export interface Unknown {
  key: string;
  value: string;
}

/** Worst first: which state stands for several tasks. */
const WORST = "FLXKRQUCE";

export class Order {
  readonly model: Model;
  readonly n: number;
  /** Index into `model.states`, a task each. */
  readonly state: Uint8Array;
  readonly started: number[];
  readonly updated: number[];
  readonly bytes: number[];
  readonly attempts: Map<number, number>;
  readonly causes = new Map<number, string>();
  /** Changes whenever a task has. */
  readonly version: Signal<number> = signal(0);
  readonly made: Signal<number>;
  readonly eta: Signal<number | null>;
  /** Index into `model.states` by letter. */
  readonly code: Record<string, number> = {};
  readonly rank: number[];

  private readonly nameOf: (task: number) => string;
  private readonly folderOf: (task: number) => string;
  private readonly acquired = new Map<number, Acquisition[]>();
  private readonly pictured = new Map<number, Model["quicklooks"]>();
  private readonly cubed = new Map<number, Model["cubes"]>();
  private readonly looked: Set<number>;

  constructor(model: Model) {
    this.model = model;
    const { tasks } = model;
    this.n = tasks.n;
    model.states.forEach(({ code }, index) => (this.code[code] = index));
    this.rank = model.states.map(({ code }) => WORST.indexOf(code));
    this.state = Uint8Array.from(tasks.state, (letter) => this.code[letter] ?? 0);
    this.started = tasks.started.slice();
    this.updated = tasks.updated.slice();
    this.bytes = tasks.bytes.slice();
    this.attempts = new Map(tasks.attempts);
    for (const { text, tasks: failed } of model.causes) for (const task of failed) this.causes.set(task, text);
    this.made = signal(model.made);
    this.eta = signal(model.eta);
    this.nameOf = unpack(tasks.names, (task) => this.axes(task));
    this.folderOf = unpack(tasks.folders, (task) => this.axes(task));
    const { looked, task, day, scenes, clear, cloud } = model.acquisitions;
    this.looked = new Set(looked);
    task.forEach((one, i) =>
      push(this.acquired, one, { day: day[i]!, scenes: scenes[i]!, clear: clear[i] ?? null, cloud: cloud[i] ?? null }),
    );
    for (const picture of model.quicklooks) push(this.pictured, picture.task, picture);
    for (const cube of model.cubes) for (const one of cube.tasks) push(this.cubed, one, cube);
  }

  /** Take over what has changed, and redraw. */
  apply(changes: Iterable<TaskChange>, made: number, eta: number | null): void {
    for (const change of changes) {
      const { task } = change;
      if (task < 0 || task >= this.n) continue;
      this.state[task] = this.code[change.state] ?? 0;
      this.started[task] = change.started;
      this.updated[task] = change.updated;
      this.bytes[task] = change.bytes;
      if (change.attempt > 1) this.attempts.set(task, change.attempt);
      if (change.cause === null) this.causes.delete(task);
      else this.causes.set(task, change.cause);
    }
    this.made.value = made;
    this.eta.value = eta;
    this.version.value += 1;
  }

  axes(task: number): [number, number, number] {
    const periods = Math.max(this.model.periods.length, 1);
    const tiles = Math.max(this.model.tiles.label.length, 1);
    return [Math.floor(task / periods / tiles), Math.floor(task / periods) % tiles, task % periods];
  }

  /** Where a task is; null when that is not known. */
  place(task: number): Place | null {
    if (!this.model.product) return null;
    const [collection, tile, period] = this.axes(task);
    return { collection, tile, period };
  }

  task({ collection, tile, period }: Place): number {
    return (collection * this.model.tiles.label.length + tile) * this.model.periods.length + period;
  }

  name(task: number): string {
    return this.nameOf(task);
  }

  folder(task: number): string {
    return this.folderOf(task);
  }

  stateName(task: number): string {
    return this.model.states[this.state[task]!]!.name;
  }

  letter(task: number): string {
    return this.model.states[this.state[task]!]!.code;
  }

  /** Whether it is known what was acquired for a task. */
  isKnown(task: number): boolean {
    return this.looked.has(task);
  }

  acquisitions(task: number): Acquisition[] {
    return this.acquired.get(task) ?? [];
  }

  quicklooks(task: number): Model["quicklooks"] {
    return this.pictured.get(task) ?? [];
  }

  cubes(task: number): Model["cubes"] {
    return this.cubed.get(task) ?? [];
  }

  /** Seconds from its start to its end, or to now; null: not started. */
  runtime(task: number): number | null {
    const start = this.started[task]!;
    if (start < 0) return null;
    const running = this.letter(task) === "R";
    const end = running ? (this.made.value - this.model.tasks.zero) / 1000 : this.updated[task]!;
    return Math.max(end - start, 0);
  }

  /** Epoch milliseconds of a moment that counts from `zero`. */
  moment(seconds: number): number | null {
    return seconds < 0 ? null : this.model.tasks.zero + seconds * 1000;
  }

  /** How many tasks are in each state. */
  counts(tasks?: Iterable<number>): number[] {
    const counts = new Array<number>(this.model.states.length).fill(0);
    if (tasks) for (const task of tasks) counts[this.state[task]!]! += 1;
    else for (const state of this.state) counts[state]! += 1;
    return counts;
  }

  /** Failures by cause, the most frequent first. */
  failures(): { text: string; tasks: number[] }[] {
    const found = new Map<string, number[]>();
    for (const [task, text] of this.causes) push(found, text, task);
    return [...found].map(([text, tasks]) => ({ text, tasks })).sort((a, b) => b.tasks.length - a.tasks.length);
  }

  /** What is to be said of a task in one line. */
  describe(task: number): string {
    const place = this.place(task);
    const where = place
      ? [this.collection(place.collection), this.model.tiles.label[place.tile], this.period(place.period)]
      : [this.name(task)];
    return `${where.filter(Boolean).join(", ")}: ${this.stateName(task)}`;
  }

  collection(index: number): string {
    return this.model.collections.length > 1 ? (this.model.collections[index] ?? "") : "";
  }

  period(index: number): string {
    const period = this.model.periods[index];
    return period ? periodLabel(period) : `period ${index + 1}`;
  }
}

/** What one looks at of an order: filters, and the task that is selected. */
export class View {
  readonly order: Order;
  /** Indices of states; none: all. */
  readonly states: Signal<ReadonlySet<number>> = signal(new Set<number>());
  readonly collection: Signal<number> = signal(-1);
  /** What tiles are sought by: their names or parts of names, as one types them. */
  readonly sought: Signal<string> = signal("");
  readonly cause: Signal<string | null> = signal(null);
  /** What is filtered by and this order has not: nothing passes, rather than everything. */
  readonly unknown: Signal<readonly Unknown[]> = signal([]);
  readonly selected: Signal<number> = signal(-1);
  /** The tiles that are sought; null: all. */
  readonly tiles: ReadonlySignal<ReadonlySet<number> | null>;
  /** One for each task: whether it passes the filters. */
  readonly matches: ReadonlySignal<Uint8Array>;
  readonly matching: ReadonlySignal<number>;
  readonly isFiltered: ReadonlySignal<boolean>;
  /** Collection and tile of the rows that pass the filters. */
  readonly rows: ReadonlySignal<{ collection: number; tile: number }[]>;

  constructor(order: Order) {
    this.order = order;
    this.isFiltered = computed(
      () =>
        this.states.value.size > 0 ||
        this.collection.value >= 0 ||
        this.tiles.value !== null ||
        this.cause.value !== null ||
        this.unknown.value.length > 0,
    );
    this.tiles = computed(() => {
      const parts = this.parts();
      return parts.length > 0 ? new Set(parts.flatMap((part) => this.named(part))) : null;
    });
    this.matches = computed(() => this.match());
    this.matching = computed(() => this.matches.value.reduce((sum, one) => sum + one, 0));
    this.rows = computed(() => this.shownRows());
  }

  clear(): void {
    batch(() => {
      this.states.value = new Set();
      this.collection.value = -1;
      this.sought.value = "";
      this.cause.value = null;
      this.unknown.value = [];
    });
  }

  setStates(states: ReadonlySet<number>): void {
    batch(() => {
      this.states.value = states;
      this.forget("state");
    });
  }

  setCollection(index: number): void {
    batch(() => {
      this.collection.value = index;
      this.forget("collection");
    });
  }

  toggleState(index: number): void {
    this.setStates(toggled(this.states.value, index));
  }

  toggleTile(index: number): void {
    const { label } = this.order.model.tiles;
    this.sought.value = [...toggled(this.tiles.value ?? new Set(), index)].map((tile) => label[tile]).join(", ");
  }

  /** The parts of what tiles are sought by. */
  parts(): string[] {
    return this.sought.value.split(/[\s,]+/).filter((part) => part !== "");
  }

  /** The tiles of a name, else those that have it in theirs. */
  named(part: string): number[] {
    const labels = this.order.model.tiles.label;
    const wanted = part.toLowerCase();
    const exact = labels.findIndex((label) => label.toLowerCase() === wanted);
    if (exact >= 0) return [exact];
    return labels.flatMap((label, index) => (label.toLowerCase().includes(wanted) ? [index] : []));
  }

  /** Whether a task passes all filters but that by tile. */
  passes(task: number, collection: number): boolean {
    const { order } = this;
    return (
      !this.isBarred() &&
      (this.states.value.size === 0 || this.states.value.has(order.state[task]!)) &&
      (this.collection.value < 0 || collection === this.collection.value) &&
      (this.cause.value === null || order.causes.get(task) === this.cause.value)
    );
  }

  /** Whether all that is asked for of one kind is unknown, so that nothing can be it. */
  private isBarred(): boolean {
    return this.unknown.value.some(
      ({ key }) => !((key === "state" && this.states.value.size > 0) || (key === "collection" && this.collection.value >= 0)),
    );
  }

  private forget(key: string): void {
    this.unknown.value = this.unknown.value.filter((one) => one.key !== key);
  }

  private match(): Uint8Array {
    const { order } = this;
    void order.version.value;
    const found = new Uint8Array(order.n).fill(1);
    if (!this.isFiltered.value) return found;
    const tiles = this.tiles.value;
    for (let task = 0; task < order.n; task += 1) {
      const [collection, tile] = order.axes(task);
      found[task] = (tiles === null || tiles.has(tile)) && this.passes(task, collection) ? 1 : 0;
    }
    return found;
  }

  private shownRows(): { collection: number; tile: number }[] {
    const { collections, tiles } = this.order.model;
    const rows: { collection: number; tile: number }[] = [];
    if (this.isBarred()) return rows;
    const wanted = this.tiles.value;
    for (let collection = 0; collection < collections.length; collection += 1) {
      if (this.collection.value >= 0 && this.collection.value !== collection) continue;
      for (let tile = 0; tile < tiles.label.length; tile += 1) {
        if (wanted !== null && !wanted.has(tile)) continue;
        rows.push({ collection, tile });
      }
    }
    return rows;
  }
}

function toggled(set: ReadonlySet<number>, one: number): ReadonlySet<number> {
  const next = new Set(set);
  if (!next.delete(one)) next.add(one);
  return next;
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const found = map.get(key);
  if (found) found.push(value);
  else map.set(key, [value]);
}

function unpack(packed: Packed, axes: (task: number) => [number, number, number]): (task: number) => string {
  if ("parts" in packed) {
    const { parts } = packed;
    return (task) => {
      const index = axes(task);
      return parts.map((part) => (typeof part === "string" ? part : part[1][index[part[0]]!])).join("");
    };
  }
  let names: string[] | undefined;
  return (task) => {
    names ??= fronts(packed.front);
    return names[task] ?? "";
  };
}

function fronts(front: (number | string)[]): string[] {
  const names: string[] = [];
  let before = "";
  for (let at = 0; at < front.length; at += 2) {
    before = before.slice(0, front[at] as number) + (front[at + 1] as string);
    names.push(before);
  }
  return names;
}

const DAY = 86_400_000;

/** `2023`, `2023-04`, `2023-04-01`, or start and end; the end is not part of the period. */
export function periodLabel([start, end]: [number, number]): string {
  const a = new Date(start);
  const b = new Date(end);
  const first = iso(start);
  if (start % DAY || end % DAY) return `${minutes(start)} – ${minutes(end)}`;
  if (end - start === DAY) return first;
  const months = (b.getUTCFullYear() - a.getUTCFullYear()) * 12 + b.getUTCMonth() - a.getUTCMonth();
  if (a.getUTCDate() === 1 && b.getUTCDate() === 1) {
    if (months === 1) return first.slice(0, 7);
    const last = iso(end - DAY);
    if (a.getUTCMonth() === 0 && months === 12) return first.slice(0, 4);
    if (a.getUTCMonth() === 0 && months % 12 === 0) return `${first.slice(0, 4)} – ${last.slice(0, 4)}`;
    return `${first.slice(0, 7)} – ${last.slice(0, 7)}`;
  }
  return `${first} – ${iso(end - DAY)}`;
}

function iso(moment: number): string {
  return new Date(moment).toISOString().slice(0, 10);
}

function minutes(moment: number): string {
  return new Date(moment).toISOString().slice(0, 16).replace("T", " ");
}
