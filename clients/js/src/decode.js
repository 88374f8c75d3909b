// What a model's stream yields, as events of a reply: Chat Completions, Responses, the AI SDK's UI message stream and its
// fullStream, as objects or raw SSE. Sends nothing.

// Of the AI SDK. A stream that was cut has the reason "other" or "unknown".
const FINISHES = { stop: "completed", "tool-calls": "completed", error: "failed" };

export class Decoder {
  /** Set by the stream's own end; without one the stream was cut. */
  outcome;
  usage = {};
  model;
  #rest = "";
  #text = new TextDecoder();
  #calls = new Map();

  /** The events of one item; none for an item of another kind. */
  feed(item) {
    if (ArrayBuffer.isView(item)) item = this.#text.decode(item, { stream: true });
    if (typeof item !== "string") return this.#event(item);
    // A chunk may end anywhere.
    const lines = (this.#rest + item).split("\n");
    this.#rest = lines.pop();
    const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
    return data.filter((text) => text && text !== "[DONE]").flatMap((text) => this.#event(JSON.parse(text)));
  }

  #event(event) {
    if (typeof event !== "object" || event === null) return [];
    if (event.error && !event.type) this.outcome = "failed"; // of a chat provider, in place of a chunk
    this.#name((event.choices ? event : event.response)?.model);
    if (Array.isArray(event.choices)) return this.#chunk(event);
    if (typeof event.type !== "string") return [];
    return event.type.startsWith("response.") ? this.#response(event) : this.#part(event);
  }

  /** An event of Chat Completions. */
  #chunk({ choices, usage }) {
    const events = [];
    this.#use(usage?.prompt_tokens, usage?.completion_tokens);
    // Of several answers the first is the reply.
    const { delta = {}, finish_reason: reason } = choices.find(({ index }) => !index) ?? {};
    const reasoning = delta.reasoning_content || delta.reasoning;
    if (reasoning) events.push({ type: "reasoning", text: reasoning });
    const text = delta.content || delta.refusal;
    if (text) events.push({ type: "text", text });
    for (const { index = 0, id, function: called } of delta.tool_calls ?? []) {
      const call = this.#calls.get(index) ?? { type: "tool", id: "", name: "", arguments: "" };
      this.#calls.set(index, call);
      call.id = id || call.id;
      call.name = called?.name || call.name;
      call.arguments += called?.arguments ?? "";
    }
    if (reason) {
      this.outcome = ["stop", "tool_calls", "function_call"].includes(reason) ? "completed" : "incomplete";
      events.push(...this.#calls.values());
      this.#calls.clear();
    }
    return events;
  }

  /** An event of Responses. */
  #response({ type, delta, item, response }) {
    switch (type) {
      case "response.output_text.delta":
      case "response.refusal.delta":
        return [{ type: "text", text: delta }];
      case "response.reasoning_summary_text.delta":
      case "response.reasoning_text.delta":
        return [{ type: "reasoning", text: delta }];
      case "response.output_item.done": {
        const { call_id: id, name, arguments: text } = item;
        return item.type === "function_call" ? [{ type: "tool", id, name, arguments: text }] : [];
      }
      case "response.completed":
      case "response.incomplete":
      case "response.failed":
        this.outcome = type.slice("response.".length);
        this.#use(response?.usage?.input_tokens, response?.usage?.output_tokens);
    }
    return [];
  }

  /** A part of a UI message stream, or of a fullStream. */
  #part({ type, delta, text = delta, toolCallId: id, toolName, input, output, error, errorText = `${error}`, data, ...more }) {
    const tool = (rest) => [{ type: "tool", id, ...rest }];
    switch (type) {
      case "text-delta":
        return [{ type: "text", text }];
      case "reasoning-delta":
        return [{ type: "reasoning", text }];
      case "tool-input-available":
      case "tool-call":
        return tool({ name: toolName, arguments: JSON.stringify(input) });
      case "tool-output-available":
      case "tool-result":
        return tool({ result: output, state: "completed" });
      case "tool-output-error":
      case "tool-error":
        return tool({ result: errorText, state: "failed" });
      case "finish":
        this.#use(more.totalUsage?.inputTokens, more.totalUsage?.outputTokens);
        this.outcome ??= FINISHES[more.finishReason ?? "stop"] ?? "incomplete";
        return [];
      case "error":
        this.outcome = "failed";
        return [];
      case "abort":
        this.outcome = "incomplete";
        return [];
    }
    return type.startsWith("data-") ? [{ type: "data", name: type.slice("data-".length), data }] : [];
  }

  #name(model) {
    // The server refuses other names, and the reply's end with them.
    if (typeof model === "string" && /^[^\p{Cc}\p{Cs}]{1,255}$/u.test(model)) this.model = model;
  }

  #use(prompt_tokens, completion_tokens) {
    if (Number.isInteger(prompt_tokens)) this.usage = { prompt_tokens, completion_tokens };
  }
}
