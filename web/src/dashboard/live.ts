// The line to the server: what changes comes as server-sent events. When the line is lost, the page
// says so and tries again, less and less often; what came meanwhile is caught up with.
import { batch, signal } from "@preact/signals";
import { getSession, isSignedOut } from "./api";

export interface Summary {
  order: string;
  states: Record<string, number>;
  progress: number;
  tasks: number;
  submitted: string;
}

/** What is looked at: an order, of which this version is known, and one of its tasks. */
export interface Target {
  order: string;
  have: string;
  task: number | null;
}

export interface Changes {
  order: string;
  from: string;
  version: string;
  eta: number | null;
  positions: number[];
  tasks: {
    zero: number;
    state: string;
    started: number[];
    updated: number[];
    bytes: number[];
    attempts: [index: number, attempt: number][];
  };
  causes: { text: string; tasks: number[] }[];
}

export interface Listener {
  changed(changes: Changes): void;
  /** The model has to be got anew. */
  again(order: string): void;
  /** Something of the task that is looked at is not as it was. */
  task(order: string, task: number): void;
  /** The server cannot tell what changes. */
  trouble(message: string): void;
  signedOut(): void;
}

export type Line = "connecting" | "live" | "lost" | "resting";

/** Seconds without a word (the server speaks every ten) after which the line is taken for lost. */
const SILENCE = 30;
const LONGEST = 30;
/** Seconds after which a page that nobody sees lets go of the line. */
const HIDDEN = 60;
/** Milliseconds for which one stays with a thing before its changes are asked for. */
const TURN = 150;

export class Live {
  readonly line = signal<Line>("connecting");
  /** When the next try is made, epoch milliseconds. */
  readonly next = signal(0);
  readonly orders = signal<ReadonlyMap<string, Summary>>(new Map());
  /** Whether all orders have been told. */
  readonly listed = signal(false);
  /** Whether what is queued is worked on: by this server, or by an engine that needs no one for it. */
  readonly works = signal(true);

  private readonly listener: Listener;
  private target: Target | null = null;
  private source: EventSource | null = null;
  private told = new Map<string, Summary>();
  private failures = 0;
  private retry = 0;
  private watchdog = 0;
  private hidden = 0;
  private turning = 0;
  private running = false;

  constructor(listener: Listener) {
    this.listener = listener;
  }

  start(): void {
    if (this.running) return;
    this.running = true;
    document.addEventListener("visibilitychange", this.onVisibility);
    addEventListener("online", this.onOnline);
    this.open();
  }

  stop(): void {
    this.running = false;
    document.removeEventListener("visibilitychange", this.onVisibility);
    removeEventListener("online", this.onOnline);
    this.close();
    this.target = null;
    batch(() => {
      this.orders.value = new Map();
      this.listed.value = false;
    });
  }

  watch(target: Target | null): void {
    this.target = target;
    clearTimeout(this.turning);
    // Whoever goes from cell to cell does not open a line for each.
    this.turning = setTimeout(() => {
      if (this.running && this.line.peek() !== "lost") this.open();
    }, TURN);
  }

  private open(): void {
    this.close();
    const query = new URLSearchParams();
    if (this.target) {
      query.set("order", this.target.order);
      query.set("have", this.target.have);
      if (this.target.task !== null) query.set("task", String(this.target.task));
    }
    const source = new EventSource(`dashboard/events?${query}`);
    this.source = source;
    // All orders are told first; those that are not told have gone.
    this.told = new Map();
    let isListed = false;
    const on = (name: string, then: (data: never) => void): void =>
      source.addEventListener(name, (event) => {
        if (this.source !== source) return;
        this.heard();
        then(JSON.parse((event as MessageEvent<string>).data) as never);
      });
    on("order", (data: Summary) => {
      if (data.states === null) this.told.delete(data.order);
      else this.told.set(data.order, data);
      if (isListed) this.orders.value = new Map(this.told);
    });
    on("listed", ({ works }: { works: boolean }) => {
      isListed = true;
      batch(() => {
        this.works.value = works;
        this.orders.value = new Map(this.told);
        this.listed.value = true;
      });
    });
    on("tasks", (data: Changes) => {
      if (this.target?.order !== data.order) return;
      this.target.have = data.version;
      this.listener.changed(data);
    });
    on("again", (data: Changes) => this.listener.again(data.order));
    on("task", (data: { order: string; task: number }) => this.listener.task(data.order, data.task));
    on("trouble", (data: { message: string }) => this.listener.trouble(data.message));
    on("beat", () => undefined);
    on("out", () => this.signedOut());
    source.onopen = () => this.source === source && this.heard();
    source.onerror = () => this.source === source && this.lost();
    this.watch_();
  }

  private heard(): void {
    this.failures = 0;
    this.line.value = "live";
    this.watch_();
  }

  private watch_(): void {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.lost(), SILENCE * 1000);
  }

  private lost(): void {
    this.close();
    this.failures += 1;
    const pause = Math.min(LONGEST, 2 ** (this.failures - 1)) * (0.75 + Math.random() / 2);
    batch(() => {
      this.line.value = "lost";
      this.next.value = Date.now() + pause * 1000;
    });
    this.retry = setTimeout(() => void this.tryAgain(), pause * 1000);
  }

  /** Ask first who is signed in: an event source does not say why it failed. */
  async tryAgain(): Promise<void> {
    clearTimeout(this.retry);
    try {
      await getSession();
    } catch (error) {
      if (!this.running) return;
      if (isSignedOut(error)) this.signedOut();
      else this.lost();
      return;
    }
    if (this.running) this.open();
  }

  private signedOut(): void {
    this.stop();
    this.listener.signedOut();
  }

  private close(): void {
    this.source?.close();
    this.source = null;
    clearTimeout(this.watchdog);
    clearTimeout(this.retry);
  }

  private readonly onOnline = (): void => {
    if (this.line.peek() === "lost") void this.tryAgain();
  };

  private readonly onVisibility = (): void => {
    clearTimeout(this.hidden);
    if (document.hidden) {
      this.hidden = setTimeout(() => {
        this.close();
        this.line.value = "resting";
      }, HIDDEN * 1000);
    } else if (this.line.peek() === "resting" || this.line.peek() === "lost") {
      void this.tryAgain();
    }
  };
}
