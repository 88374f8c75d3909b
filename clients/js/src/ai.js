// The AI SDK's ChatTransport (packages `ai` 5 to 7, `useChat`) for a Titlecast. Nothing of the SDK is imported, so that one file
// fits all of its versions. The types are in ai.d.ts.
import { Access, eventsOf, isUuid, pause } from "./access.js";
import { Replay } from "./replay.js";
import { chunksOf, toUIMessage } from "./ui-messages.js";

const FIELDS = `id role content outcome error { message } parts { __typename ... on TextPart { text } ... on ReasoningPart { text }
  ... on ToolPart { callId name arguments result state } ... on DataPart { dataId name json } }`;
const REPLY = `query ($id: ID!) { node(id: $id) { ... on Message { ${FIELDS} } } }`;
const pageOf = (key, type) => `query ($id: ${type}!, $before: String) { conversation(${key}: $id) {
  messages(last: 100, before: $before) { nodes { ${FIELDS} } pageInfo { hasPreviousPage startCursor } } } }`;

export const titlecastTransport = (options) => new TitlecastTransport(options);

class TitlecastTransport {
  /** What version 7 asks: a resumed stream begins at the beginning of the reply. */
  resumeStreamIsReplay = true;
  #access;
  #options;

  constructor({ patienceMs = 60_000, stopOnAbort = false, agent, conversation = (id) => id, ...access } = {}) {
    this.#access = new Access(access);
    this.#options = { patienceMs, stopOnAbort, agent, conversation };
  }

  sendMessages = async ({ trigger, chatId, messageId, messages, abortSignal, headers, body }) => {
    const { agent, conversation, stopOnAbort } = this.#options;
    const id = await conversation(chatId);
    const message = messages.at(-1);
    const json = JSON.stringify({ agent, ...body, id, messages: message ? [message] : [], trigger, messageId });
    const post = (signal) => this.#access.request("/api/v1/ui/chat", {
      method: "POST", body: json, signal, headers: { ...Object.fromEntries(new Headers(headers ?? {})), "content-type": "application/json" },
    });
    let sent;
    const send = (signal) => {
      if (!stopOnAbort) return post(signal);
      // Aborted behind the head of its answer at the earliest, for which a reader that leaves does not wait.
      signal.throwIfAborted();
      const line = new AbortController();
      sent = post(line.signal);
      return new Promise((resolve, reject) => {
        sent.then(resolve, reject);
        const leave = () => (reject(signal.reason), sent.finally(() => line.abort(signal.reason)).catch(() => {}));
        signal.addEventListener("abort", leave, { once: true });
      });
    };
    // A message with an id is one turn, however often it is sent; a further reply is a further one each time.
    const repeat = trigger === "submit-message" && messageId === undefined && message?.id ? send : undefined;
    // Behind the answer to the message: a stop that overtakes the message finds no reply.
    const stop = () => Promise.allSettled([sent]).then(() => this.#stop(id, headers)).catch(() => {});
    if (stopOnAbort) abortSignal?.addEventListener("abort", () => void stop(), { once: true });
    return this.#stream({ id, headers, repeat, first: (signal) => (repeat ? this.#again(send, signal) : send(signal)) }, abortSignal);
  };

  reconnectToStream = async ({ chatId, abortSignal, headers }) => {
    const id = await this.#options.conversation(chatId);
    return this.#stream({ id, headers, first: (signal) => this.#resume(id, headers, signal) }, abortSignal);
  };

  /** Stops the running reply of a chat for all of its readers. */
  stop = async (chatId) => this.#stop(await this.#options.conversation(chatId));

  /** The stored messages of a chat, oldest first, as `useChat` takes them; none of an unknown chat. */
  history = async (chatId) => {
    const id = await this.#options.conversation(chatId);
    const query = isUuid(id) ? pageOf("id", "ID") : pageOf("externalId", "String");
    const nodes = [];
    for (let before; ; ) {
      const { conversation } = await this.#access.graphql(query, { id, before });
      if (!conversation) return [];
      const { nodes: page, pageInfo } = conversation.messages;
      nodes.unshift(...page);
      if (!pageInfo.hasPreviousPage) return nodes.map(toUIMessage);
      before = pageInfo.startCursor;
    }
  };

  async #stop(id, headers) {
    const response = await this.#access.request(`/api/v1/ui/chat/${encodeURIComponent(id)}/stop`, {
      method: "POST", headers, keepalive: true, // also while the page is being left
    });
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()).stopped;
  }

  #resume(id, headers, signal) {
    return this.#again(async (signal) => {
      const response = await this.#access.request(`/api/v1/ui/chat/${encodeURIComponent(id)}/stream`, { headers, signal });
      // The server has not noticed yet that the former stream is gone.
      if (response.status === 429) throw new Error(await response.text());
      return response;
    }, signal);
  }

  /** The answer to a request that may be sent again, or the data of a query, as soon as the server can be reached. */
  async #again(send, signal, giveUp = Date.now() + this.#options.patienceMs) {
    for (;;) {
      try {
        const answer = await send(signal);
        if (!(answer.status >= 500) || Date.now() > giveUp) return answer;
        await answer.body?.cancel();
      } catch (error) {
        // Unreadable is an answer that was cut.
        if (signal.aborted || (error.status < 500 && error.code !== "UNREADABLE") || Date.now() > giveUp) throw error;
      }
      await pause(signal);
    }
  }

  /** The chunks of a reply; null if there is none. Rejects if the server refuses it. */
  async #stream({ first, ...reply }, abortSignal) {
    const away = new AbortController();
    const signal = abortSignal ? AbortSignal.any([abortSignal, away.signal]) : away.signal;
    const response = await first(signal);
    if (response.status === 204) return null;
    if (!response.ok) throw new Error((await response.text()) || `the server answered ${response.status}`);
    const chunks = this.#chunks(response, reply, signal);
    const pull = async (controller) => {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    };
    return new ReadableStream({ pull, cancel: () => away.abort() }, { highWaterMark: 0 });
  }

  /** Reads a reply to its end, through cuts: what was read before is not passed on again. */
  async *#chunks(response, { id, headers, repeat }, signal) {
    const replay = new Replay();
    for (;;) {
      try {
        for await (const data of eventsOf(response.body)) {
          if (data === "[DONE]") return;
          const chunk = JSON.parse(data);
          if (chunk.messageMetadata?.code === "AUTH_EXPIRED") break; // the reply goes on, and is resumed with a new token
          yield* replay.pass(chunk);
        }
      } catch (error) {
        if (signal.aborted || error instanceof SyntaxError) throw error;
      }
      response = await this.#resume(id, headers, signal);
      if (response.status === 204) {
        // It has ended meanwhile.
        if (replay.id) return yield* this.#stored(replay, signal);
        if (!repeat) throw new Error("the reply was cut before it began");
        response = await this.#again(repeat, signal);
      }
      if (!response.ok) throw new Error((await response.text()) || `the server answered ${response.status}`);
    }
  }

  async *#stored(replay, signal) {
    const { node } = await this.#again((signal) => this.#access.graphql(REPLY, { id: replay.id }, { signal }), signal);
    if (!node) throw new Error("the reply was replaced");
    for (const chunk of chunksOf(node)) yield* replay.pass(chunk);
  }
}
