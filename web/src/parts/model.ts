// The model of an order, as src/orchard/report/model.py makes it.

/** Names made of parts: literal texts and, for one axis of the order, a value for each place. */
export type Packed = { parts: (string | [axis: number, values: string[]])[] } | { front: (number | string)[] };

export interface Model {
  format: 1;
  /** The moment that the model shows, epoch milliseconds. */
  made: number;
  name: string;
  submitted: string | null;
  /** What made the order, and what made this document. */
  program: Record<string, unknown>;
  versions: Record<string, string>;
  engine: string | null;
  config: Record<string, unknown>;
  states: { code: string; name: string }[];
  collections: string[];
  tiles: {
    index: [row: number, col: number][];
    label: string[];
    pixels: number[];
    /** Longitude, latitude by turns; clockwise, not closed. */
    ring: (number[] | null)[];
  };
  /** Start and end in epoch milliseconds; null: not known. */
  periods: ([start: number, end: number] | null)[];
  /** Task `(c * tiles + t) * periods + p` is that of collection c, tile t, period p. */
  product: boolean;
  tasks: {
    n: number;
    /** One letter a task. */
    state: string;
    /** Epoch milliseconds from which the next two count in seconds; -1: not yet. */
    zero: number;
    started: number[];
    updated: number[];
    bytes: number[];
    attempts: [task: number, attempt: number][];
    names: Packed;
    folders: Packed;
  };
  causes: { text: string; tasks: number[] }[];
  /** Seconds until all has ended; null: not known. */
  eta: number | null;
  /** Columns, one entry an acquisition; days since 1970, percent. */
  acquisitions: {
    /** Tasks that were looked into. */
    looked: number[];
    task: number[];
    day: number[];
    scenes: number[];
    clear: (number | null)[];
    cloud: (number | null)[];
  };
  cubes: { href: string; item: string; format: string; bytes: number; tasks: number[] }[];
  quicklooks: { task: number; day: number; src: string }[];
  notes: string[];
}

/** What changes of a task while an order goes on. */
export interface TaskChange {
  task: number;
  state: string;
  started: number;
  updated: number;
  bytes: number;
  attempt: number;
  cause: string | null;
}
