// Joins the streams of one reply that was cut: each of them begins at the reply's beginning, and only what is new passes.

export class Replay {
  /** The id of the reply, as soon as it is known. */
  id;
  #isReplay = false;
  /** The last state that has passed of each tool call, data and step. */
  #passedOn = new Map();
  /** Data of the present stream that has no id of its own, in order. */
  #unnamed = [];
  /** How much text, and how much reasoning, has passed; and where the present stream is. */
  #passed = { text: 0, reasoning: 0 };
  #place = { text: 0, reasoning: 0 };
  /** The block that is open for the reader, and the id that the present stream has for it. */
  #open;
  #blocks = 0;

  /** What of a chunk is new. */
  pass(chunk) {
    switch (chunk.type) {
      case "start":
        return this.#start(chunk);
      case "text-start":
      case "reasoning-start":
        return []; // with its first text
      case "text-delta":
      case "reasoning-delta":
        return this.#delta(chunk, chunk.type.slice(0, -"-delta".length));
      case "text-end":
      case "reasoning-end":
        // With what follows: a stream that ends before its reply ends its block too.
        if (this.#open?.source === chunk.id) this.#open.isOver = true;
        return [];
      default: {
        const changed = this.#changed(chunk);
        const closes = this.#open?.isOver || /^(finish|error)/.test(chunk.type);
        return changed.length && closes ? [...this.#close(), ...changed] : changed;
      }
    }
  }

  #start(chunk) {
    this.#place = { text: 0, reasoning: 0 };
    this.#unnamed = [];
    this.#isReplay = this.id !== undefined;
    if (this.#isReplay && this.id !== chunk.messageId) throw new Error("another reply has taken its place");
    this.id = chunk.messageId;
    return this.#isReplay ? [] : [chunk];
  }

  /** A replay has the last state of each call and of data, of which the reader may have had this one or an earlier one. */
  #changed(chunk) {
    const { type, toolCallId, output, errorText, data, messageMetadata } = chunk;
    // A call has one input, and one result, whatever its state.
    const key = `${type.replace(/^tool-output-.*/, "tool-output")} ${toolCallId ?? this.#idOf(chunk)}`;
    const state = JSON.stringify([type, output ?? errorText ?? data ?? messageMetadata]);
    if (this.#isReplay && this.#passedOn.get(key) === state) return [];
    this.#passedOn.set(key, state);
    return [chunk];
  }

  /** Data without an id has one of its place in the stream, which is another one in what is stored. */
  #idOf({ type, id }) {
    if (!/^(part|stored)-\d+$/.test(id)) return id;
    const name = `${type} ${id}`;
    if (!this.#unnamed.includes(name)) this.#unnamed.push(name);
    return `#${this.#unnamed.indexOf(name)}`;
  }

  #delta({ id, delta }, kind) {
    const begin = this.#place[kind];
    const known = this.#passed[kind];
    this.#place[kind] += delta.length;
    // The block in which the reader's text ends goes on, whatever its id is in this stream.
    if (this.#open?.kind === kind && begin < known && this.#place[kind] >= known) Object.assign(this.#open, { source: id, isOver: false });
    const fresh = delta.slice(Math.max(known - begin, 0));
    if (!fresh) return [];
    this.#passed[kind] = this.#place[kind];
    const chunks = [];
    if (this.#open?.kind !== kind || this.#open.source !== id) {
      chunks.push(...this.#close());
      this.#open = { kind, source: id, id: `${kind}-${this.#blocks++}` };
      chunks.push({ type: `${kind}-start`, id: this.#open.id });
    }
    chunks.push({ type: `${kind}-delta`, id: this.#open.id, delta: fresh });
    return chunks;
  }

  #close() {
    if (!this.#open) return [];
    const { kind, id } = this.#open;
    this.#open = undefined;
    return [{ type: `${kind}-end`, id }];
  }
}
