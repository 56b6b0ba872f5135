// The calls of the dashboard to its server. The session is a cookie that scripts never see.
import type { Model } from "../parts/model";

export interface Session {
  project: string;
  name: string;
  /** Whether nobody need sign in: there is no project yet. */
  open: boolean;
  version: string;
}

export interface Block {
  name: string;
  state: string;
  started: string | null;
  finished: string | null;
  error: string | null;
}

export interface Scene {
  id: string;
  time: string;
  [property: string]: string | number | boolean;
}

export interface Image {
  collection: string;
  tile: [row: number, col: number];
  period: [start: string, end: string];
  bands: string[];
  count: number;
  acquisitions: { day: string; scenes: Scene[] }[];
}

export interface Details {
  id: string;
  name: string;
  prefix: string;
  state: string;
  job: string;
  attempt: number;
  error: string | null;
  created: string | null;
  started: string | null;
  updated: string | null;
  files: { name: string; bytes: number | null }[];
  blocks: Block[];
  log: Record<string, string>;
  image: Image | null;
  quicklooks: string[];
  can: { cancel: boolean; retry: boolean };
}

/** What the server answered when it did not do what it was asked; status 0: it did not answer. */
export class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export const isSignedOut = (error: unknown): boolean => error instanceof Refused && error.status === 401;

export const explain = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export const orderPath = (order: string): string => `dashboard/orders/${encodeURIComponent(order)}`;

export const getSession = (): Promise<Session> => json("dashboard/session");

export const signIn = (project: string, key: string): Promise<Session> =>
  json("dashboard/session", "POST", { project, key });

export const signOut = (): Promise<unknown> => call("dashboard/session", "DELETE");

export const getModel = (order: string): Promise<{ version: string; model: Model }> =>
  json(`${orderPath(order)}/model`);

export const getTask = (order: string, task: number): Promise<Details> => json(`${orderPath(order)}/tasks/${task}`);

export const quicklookPath = (order: string, task: number, name: string): string =>
  `${orderPath(order)}/tasks/${task}/quicklooks/${encodeURIComponent(name)}`;

/** Retry or cancel a whole order, or one task of it. */
export const act = (what: "retry" | "cancel", order: string, task?: number): Promise<unknown> =>
  call(`${orderPath(order)}${task === undefined ? "" : `/tasks/${task}`}/${what}`, "POST");

async function json<T>(path: string, method = "GET", body?: unknown): Promise<T> {
  return (await (await call(path, method, body)).json()) as T;
}

async function call(path: string, method = "GET", body?: unknown): Promise<Response> {
  const headers: Record<string, string> = { "X-Orchard-Dashboard": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const init: RequestInit = { method, headers, credentials: "same-origin" };
  if (body !== undefined) init.body = JSON.stringify(body);
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch {
    throw new Refused(0, "The server does not answer.");
  }
  if (answer.ok) return answer;
  throw new Refused(answer.status, await reason(answer));
}

async function reason(answer: Response): Promise<string> {
  try {
    const found = (await answer.json()) as { error?: { message?: string } };
    return found.error?.message ?? answer.statusText;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}
