// What the dashboard knows: who is signed in, where one is, the order that is looked at.
import { computed, effect, signal, untracked } from "@preact/signals";
import type { TaskChange } from "../parts/model";
import { Order, View } from "../parts/order";
import { type Route, address, filter, filtersOf, parse } from "./address";
import {
  type Details,
  Refused,
  type Session,
  act,
  explain,
  getModel,
  getSession,
  getTask,
  isSignedOut,
  signIn as askIn,
  signOut as askOut,
} from "./api";
import { type Changes, Live } from "./live";

/** undefined: not known yet; null: somebody has to sign in. */
export const session = signal<Session | null | undefined>(undefined);
/** What went wrong last and is to be shown. */
export const problem = signal<string | null>(null);
/** What was done last; gone when it has come about, or is no longer known to. */
export const said = signal("");

export const route = signal<Route>(parse(location.hash));

export const view = signal<View | null>(null);
/** Why the order that one wants to see cannot be shown. */
export const missing = signal<string | null>(null);
export const details = signal<Details | null>(null);
/** Counts the times that details were got: pictures are asked for anew then. */
export const detailed = signal(0);

let version = "";

export const live = new Live({
  changed: (changes) => apply(changes),
  again: (order) => void load(order),
  task: (order, task) => {
    if (route.peek().order === order && shownTask.peek() === task) void loadTask(order, task);
  },
  trouble: (message) => {
    problem.value = message;
  },
  signedOut: () => {
    session.value = null;
  },
});

/** The task whose details are wanted: that of the page, else the one that is selected. */
const shownTask = computed(() => route.value.task ?? (view.value && view.value.selected.value >= 0 ? view.value.selected.value : null));

/** The address of an order or of one of its tasks; the order that is looked at stays filtered as it is. */
export function hashOf(order: string | null, task: number | null = null): string {
  const here = route.value;
  return address({ order, task, filters: order === here.order ? here.filters : "" });
}

export function go(order: string | null, task: number | null = null): void {
  location.hash = hashOf(order, task);
}

/** Begin: find out who is looking, follow the address. */
export async function begin(): Promise<void> {
  addEventListener("hashchange", () => {
    route.value = parse(location.hash);
    problem.value = null;
  });
  effect(() => {
    const wanted = route.value.order;
    if (!session.value) return;
    if (wanted === null) leave();
    else if (view.peek()?.order.model.name !== wanted) void load(wanted);
  });
  effect(followAddress);
  effect(keepAddress);
  effect(() => {
    const [order, task] = [view.value?.order.model.name, shownTask.value];
    details.value = null;
    if (!order || !session.value) return;
    live.watch({ order, have: version, task });
    if (task !== null) void loadTask(order, task);
  });
  try {
    enter(await getSession());
  } catch (error) {
    if (isSignedOut(error)) session.value = null;
    else problem.value = explain(error);
  }
}

/** Filter as the address says. */
function followAddress(): void {
  const [shown, { order, filters }] = [view.value, route.value];
  if (shown === null || shown.order.model.name !== order) return;
  untracked(() => filtersOf(shown) !== filters && filter(shown, filters));
}

/** Write into the address what is filtered by, without a step for the back button. */
function keepAddress(): void {
  const [shown, here] = [view.value, route.peek()];
  if (shown === null || shown.order.model.name !== here.order) return;
  const filters = filtersOf(shown);
  if (filters === here.filters) return;
  route.value = { ...here, filters };
  history.replaceState(null, "", address(route.peek()));
}

function enter(found: Session): void {
  session.value = found;
  problem.value = null;
  live.start();
}

export async function signIn(project: string, key: string): Promise<void> {
  enter(await askIn(project, key));
}

export async function signOut(): Promise<void> {
  try {
    await askOut();
  } catch (error) {
    problem.value = explain(error);
    return;
  }
  live.stop();
  leave();
  session.value = null;
}

function leave(): void {
  view.value = null;
  missing.value = null;
  details.value = null;
  if (session.peek()) live.watch(null);
}

let loading = 0;

/** Get the model of an order; what was selected stays so, and what is filtered by is in the address. */
async function load(name: string): Promise<void> {
  const mine = (loading += 1);
  try {
    const found = await getModel(name);
    if (mine !== loading || route.peek().order !== name) return;
    const before = view.peek();
    const next = new View(new Order(found.model));
    if (before?.order.model.name === name) next.selected.value = before.selected.peek();
    filter(next, route.peek().filters);
    version = found.version;
    missing.value = null;
    view.value = next;
  } catch (error) {
    if (mine === loading) failed(error, name);
  }
}

function failed(error: unknown, name: string): void {
  if (isSignedOut(error)) {
    session.value = null;
    return;
  }
  if (error instanceof Refused && error.status === 404) {
    view.value = null;
    missing.value = `There is no order ${name} here.`;
  } else if (error instanceof Refused && error.status === 0) {
    setTimeout(() => {
      if (route.peek().order === name && session.peek()) void load(name);
    }, 2000);
  } else problem.value = explain(error);
}

async function loadTask(order: string, task: number): Promise<void> {
  try {
    const found = await getTask(order, task);
    if (route.peek().order !== order || shownTask.peek() !== task) return;
    details.value = found;
    detailed.value += 1;
  } catch (error) {
    if (isSignedOut(error)) session.value = null;
    else if (route.peek().task === task) problem.value = explain(error);
  }
}

function apply(changes: Changes): void {
  const order = view.peek()?.order;
  if (!order || order.model.name !== changes.order) return;
  if (changes.from !== version) {
    void load(changes.order); // something was missed
    return;
  }
  version = changes.version;
  order.apply(rows(changes, order.model.tasks.zero), Date.now(), changes.eta);
}

/** Turn the columns of what has changed into what an order takes; times count from the model's zero. */
function rows({ positions, tasks, causes }: Changes, zero: number): TaskChange[] {
  const shift = (tasks.zero - zero) / 1000;
  const moved = (at: number): number => (at < 0 ? -1 : at + shift);
  const attempts = new Map(tasks.attempts);
  const why = new Map(causes.flatMap((cause) => cause.tasks.map((task) => [task, cause.text] as const)));
  return positions.map((task, index) => {
    return {
      task,
      state: tasks.state[index]!,
      started: moved(tasks.started[index]!),
      updated: moved(tasks.updated[index]!),
      bytes: tasks.bytes[index]!,
      attempt: attempts.get(index) ?? 1,
      cause: why.get(task) ?? null,
    };
  });
}

/** Seconds after which a notice has been read. */
const READ = 10;
let unsay = (): void => undefined;

/** Say what is being done until that is so, for some seconds, or as long as one is told what becomes of it. */
function say(what: "retry" | "cancel", order: string, isDone: () => boolean): void {
  unsay();
  const queued = "It is queued. This server does not work on orders: orchard run does.";
  said.value = what === "cancel" ? "It is being cancelled." : live.works.peek() ? "It is started anew." : queued;
  const timer = setTimeout(() => unsay(), READ * 1000);
  const stop = effect(() => {
    if (route.value.order !== order || live.line.value === "lost" || isDone()) queueMicrotask(() => unsay());
  });
  unsay = () => {
    clearTimeout(timer);
    stop();
    said.value = "";
    unsay = () => undefined;
  };
}

/** What tells whether a retry or a cancellation has come about; never, where no state is going to change. */
function coming(what: "retry" | "cancel", task: number | undefined): () => boolean {
  const shown = view.peek()?.order;
  const [before, after] = what === "retry" ? ["FXL", "FXLUQ"] : ["UQR", "UQRK"];
  const is = (letters: string): boolean =>
    task === undefined ? shown!.model.states.some(({ code }, i) => letters.includes(code) && shown!.state.includes(i)) : letters.includes(shown!.letter(task));
  if (shown === undefined || !is(before)) return () => false;
  return () => {
    void shown.version.value;
    return !is(after);
  };
}

/** Retry or cancel; says what came of it. */
export async function perform(what: "retry" | "cancel", order: string, task?: number): Promise<void> {
  problem.value = null;
  try {
    const isDone = coming(what, task);
    await act(what, order, task);
    say(what, order, isDone);
    if (task !== undefined && shownTask.peek() === task) await loadTask(order, task);
  } catch (error) {
    if (isSignedOut(error)) session.value = null;
    else problem.value = explain(error);
  }
}
