// The API of openapi.json: one function for every request, and errors that say whether trying again can help.

/** Longest wait for an answer, milliseconds. */
const PATIENCE_MS = 15_000;

/** The host refused, or could not be reached (status 0). The message is for people. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the same request may succeed later. */
  get isPassing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** Who is logged in: reviewer, role, guard; null before the login. */
export let session = null;
let onLoggedOut = () => {};

export function setSession(found) {
  session = found;
}

/** Tells what happens when the session ends in the middle. */
export function whenLoggedOut(listener) {
  onLoggedOut = listener;
}

/** Sends a request; returns the answer's JSON. With `wantsHeaders`: [JSON, Headers]. */
export async function call(method, path, body, { wantsHeaders = false } = {}) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET" && session) headers["x-alfred-guard"] = session.guard;
  let answer;
  let content;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    content = await answer.text();
  } catch {
    throw new Refusal(0, "The host does not answer. It may be starting again.");
  }
  const value = parse(content);
  if (!answer.ok) {
    if (answer.status === 401 && session) onLoggedOut();
    throw new Refusal(answer.status, value?.error ?? `The host answered with status ${answer.status}.`);
  }
  if (value === undefined) throw new Refusal(502, "The host's answer is not JSON.");
  return wantsHeaders ? [value, answer.headers] : value;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const get = (path) => call("GET", path);

/** What an optional part of the host answers; null where the host does not have it. */
export async function getOptional(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Refusal && [403, 404, 405, 422].includes(error.status)) return null;
    throw error;
  }
}

/** A random key of a request: the host takes the same key only once. Also where the page is not a secure context. */
export function requestKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A query string of what is set. */
export function query(values) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text && `?${text}`;
}
