// A project's id and key, once; from then on the browser holds a cookie that no script can read.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Refused, explain } from "./api";
import { signIn } from "./state";

export function SignIn() {
  const project = useRef<HTMLInputElement>(null);
  const key = useRef<HTMLInputElement>(null);
  const wrong = useSignal<string | null>(null);
  const busy = useSignal(false);
  useEffect(() => project.current?.focus(), []);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (busy.value) return;
    busy.value = true;
    wrong.value = null;
    try {
      await signIn(project.current!.value.trim(), key.current!.value.trim());
    } catch (error) {
      wrong.value =
        error instanceof Refused && error.status === 401
          ? "This id and this key do not belong together."
          : explain(error);
      key.current?.focus();
      key.current?.select();
    } finally {
      busy.value = false;
    }
  };
  return (
    <main id="main" class="sign-in" tabIndex={-1}>
      <form onSubmit={(event) => void submit(event)} aria-labelledby="sign-in-title">
        <h1 id="sign-in-title">Sign in</h1>
        <p class="muted">
          with a project of this platform; <code>orchard project create</code> makes one.
        </p>
        <label for="project">Project</label>
        <input id="project" ref={project} autocomplete="username" autocapitalize="none" spellcheck={false} required />
        <label for="key">Key</label>
        <input
          id="key"
          ref={key}
          type="password"
          autocomplete="current-password"
          required
          aria-invalid={wrong.value !== null}
          aria-describedby="sign-in-problem"
        />
        <p id="sign-in-problem" class="alert" role="alert">
          {wrong.value}
        </p>
        <button type="submit" class="primary" aria-disabled={busy.value}>
          {busy.value ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </main>
  );
}
