// Retry and cancel: of an order only after a second question, of a task at once.
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { counted } from "../parts/format";
import type { View } from "../parts/order";
import { perform, said } from "./state";

export function OrderActions({ view }: { view: View }) {
  const { order } = view;
  void order.version.value;
  const counts = order.counts();
  const of = (codes: string): number => [...codes].reduce((sum, code) => sum + counts[order.code[code]!]!, 0);
  const [again, open] = [of("FXL"), of("UQR")];
  const how = [of("FL") && "failed", of("X") && "was cancelled"].filter(Boolean).join(" or ");
  const { name } = order.model;
  return (
    <div class="buttons actions">
      {again > 0 && (
        <Ask text={`Retry what ${how}`} question={`Start ${counted(again, "task")} anew?`} act={() => perform("retry", name)} />
      )}
      {open > 0 && (
        <Ask text="Cancel" question={`Cancel ${counted(open, "task")}?`} act={() => perform("cancel", name)} />
      )}
    </div>
  );
}

/** A button that asks before it does something to many tasks. */
function Ask({ text, question, act }: { text: string; question: string; act: () => Promise<void> }) {
  const asking = useSignal(false);
  const yes = useRef<HTMLButtonElement>(null);
  const first = useRef<HTMLButtonElement>(null);
  const was = useRef(false);
  useLayoutEffect(() => {
    if (asking.value) yes.current?.focus();
    else if (was.current) first.current?.focus();
    was.current = asking.value;
  }, [asking.value]);
  if (!asking.value) {
    return (
      <button type="button" ref={first} onClick={() => (asking.value = true)}>
        {text}
      </button>
    );
  }
  return (
    <span
      class="ask"
      role="group"
      aria-label={question}
      onKeyDown={(event) => event.key === "Escape" && (asking.value = false)}
    >
      <span>{question}</span>
      <button
        type="button"
        ref={yes}
        class="primary"
        onClick={() => {
          asking.value = false;
          void act();
        }}
      >
        Yes
      </button>
      <button type="button" onClick={() => (asking.value = false)}>
        No
      </button>
    </span>
  );
}

/** The buttons of one task; `can` says what there is to do, or else its state does. */
export function TaskActions({ view, task, can }: { view: View; task: number; can?: { cancel: boolean; retry: boolean } }) {
  const { order } = view;
  void order.version.value;
  const busy = useSignal(false);
  const letter = order.letter(task);
  const { retry, cancel } = can ?? { retry: "FXL".includes(letter), cancel: "UQR".includes(letter) };
  const act = async (what: "retry" | "cancel"): Promise<void> => {
    if (busy.value) return;
    busy.value = true;
    said.value = "";
    await perform(what, order.model.name, task);
    busy.value = false;
  };
  if (!retry && !cancel) return null;
  return (
    <div class="buttons actions">
      {retry && (
        <button type="button" class="primary" aria-disabled={busy.value} onClick={() => void act("retry")}>
          {letter === "C" ? "Retry what failed" : "Retry"}
        </button>
      )}
      {cancel && (
        <button type="button" aria-disabled={busy.value} onClick={() => void act("cancel")}>
          {letter === "C" ? "Cancel what follows" : "Cancel"}
        </button>
      )}
    </div>
  );
}
