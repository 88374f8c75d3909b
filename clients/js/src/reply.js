// One reply that is written outside: what the agent gives it, and its upload. The agent's side never waits for the upload's.
import { ANSWER_MS, isFinal, pause } from "./client.js";
import { TitlecastError } from "./error.js";
import { Watch } from "./watch.js";

// What is kept of a reply, to send it again from an offset: the server's own limit of an upload.
const MAX_BYTES = 4 * 1024 * 1024;
// A blank line in a silence of the agent says that it lives; the server closes a reply after 30 s without one.
const HEARTBEAT_MS = 1_000;
const PAUSE_MS = 300;
// The server refuses longer lines than 256 KiB, and keeps no part over 64 KiB. A unit is at most 6 bytes of JSON.
const PIECE = /[^]{1,40000}(?![\udc00-\udfff])/g;
const MAX_PART_BYTES = 200_000;

const encoder = new TextEncoder();
// A mark at the beginning of a piece is text, and counts in the offsets.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export class Reply {
  id = crypto.randomUUID();
  #stop = new AbortController();
  #client;
  #path;
  #headers;
  #params;
  // Each event with the offset of the reply's text at which it begins, kept until the end: a cut needs them again.
  #events = [];
  #end;
  #bytes = 0;
  #length = 0;
  #given = 0;
  #usage = {};
  #model;
  #tools = new Map();
  #wake = () => {};
  #isOver = false;

  constructor(client, path, headers, params, message) {
    this.#client = client;
    this.#path = path;
    this.#headers = headers;
    this.#params = params;
    this.#params.set("reply_id", this.id);
    // The agent goes on, whatever happens here.
    this.ended = this.#upload(message)
      .catch((error) => ({ error: error.message }))
      .finally(() => (this.#isOver = true));
  }

  get signal() {
    return this.#stop.signal;
  }

  text(text) {
    for (const piece of `${text ?? ""}`.match(PIECE) ?? []) this.#add({ type: "text", text: piece });
  }

  part(part) {
    if (part.type === "text") this.text(part.text);
    else this.#add(part);
  }

  finish(outcome = "completed") {
    const usage = Object.keys(this.#usage).length ? { usage: this.#usage } : {};
    this.#end ??= { type: "finish", outcome, ...usage, model: this.#model };
    this.#wake();
  }

  tee(stream, { ends = false } = {}) {
    const watch = new Watch((event) => this.part(event), (outcome, { usage, model }) => {
      for (const [name, count] of Object.entries(usage)) this.#usage[name] = (this.#usage[name] ?? 0) + count;
      this.#model = model ?? this.#model;
      if (ends) this.finish(outcome);
    });
    return stream instanceof ReadableStream ? watch.readable(stream) : watch.iterate(stream);
  }

  #add(event) {
    if (this.#end || this.#isOver) return;
    if (event.type === "tool") {
      event = { ...this.#tools.get(event.id), ...event }; // a later state may lack the arguments
      this.#tools.set(event.id, event);
    }
    const bytes = encoder.encode(event.type === "text" ? event.text : dump(event));
    if (event.type !== "text" && bytes.length > MAX_PART_BYTES) return;
    this.#bytes += bytes.length + 64;
    if (this.#bytes > MAX_BYTES) return this.finish("incomplete");
    this.#events.push({ at: this.#length, event, bytes });
    if (event.type === "text") this.#length += bytes.length;
    this.#wake();
  }

  /** Uploads until the server has all, the reply is over, or for `patienceMs` nothing went on. */
  async #upload(message) {
    if (message) {
      const { message_id: id } = await this.#client.record(this.#path, message, this.#headers);
      this.#params.set("in_reply_to", id);
    }
    const { patienceMs } = this.#client;
    let offset = 0;
    for (let giveUp = Date.now() + patienceMs; ; ) {
      const begun = Date.now();
      const answer = await this.#send(offset);
      // 201: written. 200: it had ended before.
      const ended = [200, 201].includes(answer.status) && answer.body.status;
      if (ended) return ended === "stopped" ? this.#stopped() : { outcome: ended };
      if (answer.body.code === "REPLY_STOPPED") return this.#stopped();
      if (isFinal(answer.status) && answer.status !== 409) throw new TitlecastError("the reply was refused", answer);
      // A cut, or a writer that has not been missed yet. The server says from where to go on.
      const state = await this.#client.ask("GET", `${this.#path}/replies/${this.id}`, { headers: this.#headers });
      if (isFinal(state.status) && state.status !== 404) throw new TitlecastError("the reply was refused", state);
      const { status, offset: known } = state.ok ? state.body : { status: "running", offset };
      if (status === "stopped") return this.#stopped();
      if (status !== "running") return { outcome: status };
      const now = Date.now();
      if (known > offset || now - begun > 2 * HEARTBEAT_MS) giveUp = now + patienceMs;
      else if (now > giveUp) throw new TitlecastError("the reply was not uploaded", answer);
      offset = known;
      await pause(PAUSE_MS);
    }
  }

  async #send(offset) {
    const params = new URLSearchParams(this.#params);
    params.set("offset", offset);
    const abort = new AbortController();
    let timer;
    const sent = () => (timer = setTimeout(() => abort.abort(), ANSWER_MS));
    const answer = await this.#client.ask("POST", `${this.#path}/replies?${params}`, {
      headers: { ...this.#headers, "content-type": "application/x-ndjson" },
      body: ReadableStream.from(this.#lines(offset, this.#given, sent)),
      duplex: "half",
      abort,
      timeoutMs: 0, // while the agent writes
    });
    clearTimeout(timer);
    return answer;
  }

  #stopped() {
    this.#stop.abort();
    return { outcome: "stopped" };
  }

  /** The events from an offset of the text on; the first `given` were on the wire before. */
  async *#lines(offset, given, sent) {
    for (let place = 0; ; ) {
      const lines = this.#events.slice(place).map((entry, n) => line(entry, offset, place + n < given));
      place += lines.length;
      this.#given = Math.max(this.#given, place);
      if (this.#end) {
        sent();
        yield encoder.encode(lines.join("") + dump(this.#end));
        return;
      }
      const text = lines.join("");
      if (text) yield encoder.encode(text);
      if (this.#events.length > place || this.#end) continue;
      let timer;
      const isWoken = await new Promise((resolve) => {
        this.#wake = () => resolve(true);
        timer = setTimeout(resolve, HEARTBEAT_MS, false);
      });
      clearTimeout(timer);
      if (!isWoken) yield encoder.encode("\n");
    }
  }
}

function line({ at, event, bytes }, offset, isAgain) {
  if (event.type === "text") {
    const rest = bytes.subarray(Math.max(offset - at, 0));
    return rest.length ? dump({ type: "text", text: decoder.decode(rest) }) : "";
  }
  // A tool call is identified by its id, so that it may be sent again; reasoning would be duplicated.
  return at < offset || (isAgain && event.type === "reasoning") ? "" : dump(event);
}

const dump = (event) => `${JSON.stringify(event)}\n`;
