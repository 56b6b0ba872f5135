// The frame of the dashboard: who is signed in, whether the line is up, orders, the page one is on.
import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { percent } from "../parts/format";
import { ThemeSwitch } from "../parts/ThemeSwitch";
import { OrderList } from "./OrderList";
import { OrderPage } from "./OrderPage";
import { SignIn } from "./SignIn";
import { TaskPage } from "./TaskPage";
import { hashOf, live, missing, problem, route, said, session, signOut, view } from "./state";

export function App() {
  useTitle();
  const who = session.value;
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to the content
      </a>
      <header class="masthead">
        <a class="brand" href={hashOf(null)}>
          <Mark />
          Orchard
        </a>
        {who && <span class="project">{who.name}</span>}
        <span class="push" />
        {who && <Line />}
        <ThemeSwitch />
        {who && !who.open && (
          <button type="button" onClick={() => void signOut()}>
            Sign out
          </button>
        )}
      </header>
      <Problem />
      <p class="said" role="status">
        {said.value}
      </p>
      {who === undefined && <p class="wait">{problem.value ? "" : "One moment…"}</p>}
      {who === null && <SignIn />}
      {who && <Content />}
    </>
  );
}

function Content() {
  const { order, task } = route.value;
  const shown = view.value;
  const isThere = shown !== null && shown.order.model.name === order;
  return (
    <div class={`frame ${order === null ? "frame-list" : ""}`}>
      <nav class="side" aria-label="Orders">
        <OrderList />
      </nav>
      <main id="main" tabIndex={-1}>
        {order === null && <Welcome />}
        {order !== null && !isThere && (missing.value ? <Missing text={missing.value} /> : <p class="wait">Getting the order…</p>)}
        {isThere && task === null && <OrderPage key={keyOf(shown)} view={shown} />}
        {isThere && task !== null && <TaskPage key={`${keyOf(shown)}-${task}`} view={shown} task={task} />}
      </main>
    </div>
  );
}

function Welcome() {
  const who = session.value;
  if (!live.listed.value) return <p class="wait">One moment…</p>;
  if (live.orders.value.size > 0) return <p class="wait wide-only">Choose an order to see how it stands.</p>;
  return (
    <section class="welcome">
      <h1>{isShell() ? "No orders yet" : `No orders of project ${who?.project} yet`}</h1>
      <p>
        Submit one with{" "}
        {isShell() && (
          <>
            <code>orchard submit</code>, <code>tracker.submit(…)</code> or{" "}
          </>
        )}
        <code>POST /projects/{who?.project}/jobs</code>; it appears here by itself.
      </p>
      <Elsewhere />
      <p>
        <a href="docs">The calls of this platform</a>
      </p>
    </section>
  );
}

function Missing({ text }: { text: string }) {
  return (
    <section class="welcome">
      <p>{text}</p>
      <Elsewhere />
    </section>
  );
}

/** Whether the orders of the command line are among those that are shown. */
const isShell = (): boolean => session.value?.project === "local";

/** Where the orders are that somebody may look for here in vain. */
function Elsewhere() {
  if (isShell()) return null;
  return (
    <p>
      Orders that were submitted on the command line are not shown here: they belong to the project <code>local</code>.
      To see them, sign in as <code>local</code> (whoever runs this platform makes its key:{" "}
      <code>orchard project create local</code>), or ask in the shell: <code>orchard status list</code>,{" "}
      <code>orchard report NAME</code>.
    </p>
  );
}

/** Whether what is shown is the present, in colour and in words. */
function Line() {
  const line = live.line.value;
  const now = useSignal(Date.now());
  useEffect(() => {
    if (line !== "lost") return;
    const timer = setInterval(() => (now.value = Date.now()), 500);
    return () => clearInterval(timer);
  }, [line]);
  const left = Math.max(0, Math.ceil((live.next.value - now.value) / 1000));
  const text = { live: "Live", connecting: "Connecting…", resting: "Paused", lost: "Connection lost" }[line];
  return (
    <span class={`line line-${line}`}>
      <span role="status">
        <span class="dot" aria-hidden="true" />
        {text}
      </span>
      {line === "lost" && (
        <>
          <span class="muted wide-only"> trying again in {left} s</span>
          <button type="button" onClick={() => void live.tryAgain()}>
            Try now
          </button>
        </>
      )}
    </span>
  );
}

function Problem() {
  if (problem.value === null) return null;
  return (
    <div class="problem" role="alert">
      <p>{problem.value}</p>
      <button type="button" class="quiet" aria-label="Dismiss" onClick={() => (problem.value = null)}>
        ×
      </button>
    </div>
  );
}

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 16 16" width="18" height="18" aria-hidden="true">
      <rect x="1" y="1" width="6" height="6" rx="1.5" />
      <rect x="9" y="1" width="6" height="6" rx="1.5" opacity=".55" />
      <rect x="1" y="9" width="6" height="6" rx="1.5" opacity=".55" />
      <rect x="9" y="9" width="6" height="6" rx="1.5" />
    </svg>
  );
}

/** The address belongs to the page that is shown: the link must not change it. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** What is being looked at, in the title; after a change of page the content has the focus. */
function useTitle(): void {
  const last = useRef<string | null>(null);
  useSignalEffect(() => {
    const { order, task } = route.value;
    const summary = order === null ? undefined : live.orders.value.get(order);
    const done = summary ? `${percent(Math.round(summary.progress * summary.tasks), summary.tasks)} · ` : "";
    document.title = order === null ? "Orchard" : `${done}${order}${task === null ? "" : ` · task ${task}`}`;
    const here = `${order}/${task}`;
    if (last.current !== null && last.current !== here) {
      scrollTo(0, 0);
      queueMicrotask(() => document.getElementById("main")?.focus({ preventScroll: true }));
    }
    last.current = here;
  });
}

const keys = new WeakMap<object, number>();
let following = 0;

function keyOf(thing: object): number {
  let key = keys.get(thing);
  if (key === undefined) keys.set(thing, (key = following += 1));
  return key;
}
