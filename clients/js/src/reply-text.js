// One reply while it is written. Knows no framework.
import { ask, follow, Watched } from "./watched.js";

const WATCH = `subscription ($conversationId: ID, $messageId: ID) { reply(conversationId: $conversationId, messageId: $messageId) {
  __typename ... on ReplySoFar { messageId text } ... on ReplyDelta { messageId text }
  ... on ReplyEnded { messageId text outcome reason error { code message } } } }`;
const STOP = `mutation ($conversationId: ID, $replyId: ID) {
  stopReply(input: { conversationId: $conversationId, replyId: $replyId }) { stopped } }`;
const NONE = { messageId: undefined, text: "", outcome: undefined, reason: undefined, error: undefined };

export class ReplyText extends Watched {
  #client;
  #target;

  constructor(client, conversationId, messageId) {
    const isIdle = !conversationId && !messageId;
    super({ ...NONE, status: isIdle ? "idle" : "waiting" });
    this.#client = client;
    this.#target = isIdle ? undefined : messageId ? { messageId } : { conversationId };
  }

  start() {
    if (!this.#target || this.state().status === "ended") return () => {};
    return follow(this.#client, WATCH, this.#target, {
      onData: ({ reply }) => this.#take(reply),
      onError: (error) => this.change({ error }),
    });
  }

  stop = async () => {
    if (!this.#target) return false;
    const { messageId } = this.state();
    const target = messageId ? { replyId: messageId } : this.#target.conversationId ? this.#target : undefined;
    return target ? (await ask(this.#client, STOP, target)).stopReply.stopped : false;
  };

  #take({ __typename: type, messageId, text, outcome, reason, error }) {
    switch (type) {
      case "ReplySoFar": // also after the client has connected again: it replaces what is there
        return this.change({ ...NONE, messageId, text, status: "writing" });
      case "ReplyDelta":
        return this.change({ text: this.state().text + text });
      case "ReplyEnded":
        return this.change({ messageId, text, outcome, reason: reason ?? undefined, error: error ?? undefined, status: "ended" });
    }
  }
}
