// The connection to a Titlecast: where it is, as whom. The types are in index.d.ts.
import { TitlecastError } from "./error.js";
import { Reply } from "./reply.js";

const PAUSE_MS = 300;
export const ANSWER_MS = 10_000;

export class Titlecast {
  #url;
  #token;
  #replies = new Set();
  #turns = new Map();
  #isClosed = false;
  #open = new Set();

  constructor({ url, token, patienceMs = 60_000 } = {}) {
    const env = globalThis.process?.env ?? {};
    this.#url = (url ?? env.TITLECAST_URL ?? "http://127.0.0.1:8080").replace(/\/+$/, "");
    this.#token = token ?? env.TITLECAST_TOKEN;
    this.patienceMs = patienceMs;
  }

  async recordMessage(conversation, message, onBehalf = {}) {
    return this.record(encodeURIComponent(conversation), complete(message), headersOf(onBehalf));
  }

  reply(conversation, { message, agent, in_reply_to, ...onBehalf } = {}) {
    const recorded = message == null ? undefined : complete(message, agent);
    const params = new URLSearchParams();
    if (agent) params.set("agent", agent);
    if (in_reply_to) params.set("in_reply_to", in_reply_to);
    const reply = new Reply(this, encodeURIComponent(conversation), headersOf(onBehalf), params, recorded);
    this.#replies.add(reply);
    reply.ended.then(() => this.#replies.delete(reply));
    return reply;
  }

  tee(stream, conversation, options) {
    return this.reply(conversation, options).tee(stream, { ends: true });
  }

  async close(timeoutMs = 10_000) {
    const replies = [...this.#replies];
    for (const reply of replies) reply.finish("incomplete");
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, timeoutMs)));
    await Promise.race([Promise.all(replies.map((reply) => reply.ended)), late]);
    clearTimeout(timer);
    this.#isClosed = true;
    for (const request of this.#open) request.abort();
  }

  /** Records a conversation's messages one at a time, in the order in which they were given. */
  record(path, message, headers) {
    const place = JSON.stringify([path, headers]);
    const end = Date.now() + this.patienceMs;
    const recorded = Promise.resolve(this.#turns.get(place)).then(() => this.#record(path, message, headers, end));
    const turn = recorded.catch(() => {}).then(() => this.#turns.get(place) === turn && this.#turns.delete(place));
    this.#turns.set(place, turn);
    return recorded;
  }

  /** Idempotent, by the message's id or external id: tried again until it is stored, refused, or the time is over. */
  async #record(path, message, headers, end) {
    for (;;) {
      const body = JSON.stringify(message);
      const answer = await this.ask("POST", `${path}/messages`, {
        headers: { ...headers, "content-type": "application/json" },
        body,
      });
      if (answer.ok) return answer.body;
      if (isFinal(answer.status) || Date.now() > end) throw new TitlecastError("the message was not recorded", answer);
      await pause(PAUSE_MS);
    }
  }

  /** Status and JSON of the answer; without an answer 0, and the error's name as `code`. */
  async ask(method, path, { headers, abort = new AbortController(), timeoutMs = ANSWER_MS, ...request }) {
    if (this.#isClosed) throw new Error("the client was closed");
    this.#open.add(abort);
    const timer = timeoutMs && setTimeout(() => abort.abort(), timeoutMs);
    try {
      const authorization = this.#token ? { authorization: `Bearer ${this.#token}` } : {};
      const url = `${this.#url}/api/v1/conversations/${path}`;
      const all = { ...authorization, ...headers };
      const response = await fetch(url, { method, headers: all, signal: abort.signal, ...request });
      const body = await response.json().catch(() => ({}));
      return { ok: response.ok, status: response.status, body };
    } catch (error) {
      return { ok: false, status: 0, body: { code: error.cause?.code ?? error.name } };
    } finally {
      clearTimeout(timer);
      this.#open.delete(abort);
    }
  }
}

/** Whether the same request would be answered the same again. */
export const isFinal = (status) => status >= 400 && status < 500 && status !== 408 && status !== 429;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const given = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));

function complete(message, agent) {
  const fields = given(typeof message === "string" ? { content: message } : message);
  // An external id makes the message's id, the same one in each request; a random one besides would make another message.
  const made = fields.external_id ? {} : { message_id: crypto.randomUUID() };
  return given({ role: "user", agent, ...made, ...fields });
}

function headersOf({ user, tenant }) {
  const named = Object.entries(given({ "titlecast-on-behalf-of": user, "titlecast-tenant": tenant }));
  return Object.fromEntries(named.map(([header, name]) => [header, encodeURIComponent(name)]));
}
