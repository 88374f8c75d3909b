// Requests of a page or an application to a Titlecast: where it is, and as whom. The types are in access.d.ts.
import { TitlecastError } from "./error.js";

const ANSWER_MS = 10_000;
const PAUSE_MS = 500;
// The server sends a comment every 15 s; a connection that is silent for longer is dead.
const SILENCE_MS = 45_000;

export const isUuid = (id) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id);

export class Access {
  #url;
  #options;

  constructor({ url = "", ...options } = {}) {
    this.#url = url.replace(/\/+$/, "");
    this.#options = options;
  }

  /** A request as this caller. `token` and `headers` may be functions, so that each request has the current ones. */
  async request(path, { headers, ...init } = {}) {
    const { token, headers: own, credentials, fetch = globalThis.fetch } = this.#options;
    const all = new Headers(await valueOf(own));
    const bearer = await valueOf(token);
    if (bearer) all.set("authorization", `Bearer ${bearer}`);
    new Headers(headers ?? {}).forEach((value, name) => all.set(name, value));
    return fetch(`${this.#url}${path}`, { credentials, headers: all, ...init });
  }

  /** The data of a query or a mutation. Rejects with TitlecastError. */
  async graphql(query, variables, { signal, timeoutMs = ANSWER_MS } = {}) {
    const response = await this.post(query, variables, {
      signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])]),
    });
    const { data, errors } = await response.json().catch(() => ({}));
    if (errors?.length || !data) throw refusal(response, errors);
    return data;
  }

  post(query, variables, { accept = "application/json", signal } = {}) {
    const headers = { "content-type": "application/json", accept };
    return this.request("/graphql", { method: "POST", headers, body: JSON.stringify({ query, variables }), signal });
  }
}

/** The error of an answer of GraphQL. */
export function refusal({ status }, errors) {
  const [first] = errors ?? [];
  const body = { code: first?.extensions?.code ?? "UNREADABLE", message: first?.message };
  return new TitlecastError("the request failed", { status, body });
}

/** The `data:` of each event of a stream. An event that is not whole at the end of the bytes is dropped. */
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await inTime(reader.read(), SILENCE_MS);
      if (done) return;
      const frames = (text + value).split("\n\n");
      text = frames.pop();
      for (const frame of frames) {
        const data = frame.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) yield data.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Resolves after a moment; rejects as soon as the signal is aborted. */
export function pause(signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const leave = () => (clearTimeout(timer), reject(signal.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", leave), resolve()), PAUSE_MS);
    signal?.addEventListener("abort", leave, { once: true });
  });
}

function inTime(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the server was silent for ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const valueOf = async (value) => (typeof value === "function" ? value() : value);
