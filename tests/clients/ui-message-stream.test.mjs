// The AI SDK's own chat, versions 5 to 7, against the server: send, stream, title, resume after a cut, stop, edit,
// regenerate, errors.

import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";

import * as ai5 from "ai5";
import * as ai6 from "ai6";
import * as ai7 from "ai7";

import { Server, within } from "./support.mjs";

let server;
before(async () => (server = await Server.start()));
after(() => server.end());

/** The state that a framework keeps for a chat. */
class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => {
    this.messages = this.messages.with(index, message);
    this.onChange?.();
  };
  snapshot = (value) => structuredClone(value);
}

for (const [name, ai] of Object.entries({ ai5, ai6, ai7 })) {
  suite(name, () => {
    /** A chat, with what it received beside its messages. */
    function chat({ id, messages = [], ...options } = {}) {
      const state = new State();
      state.messages = messages;
      const seen = { data: [], errors: [] };
      const transport = new ai.DefaultChatTransport({ api: new URL("/api/v1/ui/chat", server.url).href, ...options });
      class Chat extends ai.AbstractChat {}
      const made = new Chat({
        id,
        state,
        transport,
        onData: (part) => seen.data.push(part),
        onError: (error) => seen.errors.push(error),
      });
      return { chat: made, state, seen };
    }

    const text = (message) =>
      message.parts
        .filter((part) => part.type === "text")
        .map((part) => part.text)
        .join("");

    /** Waits until the last message of a chat has some text of a reply. */
    const writing = (state) =>
      within(
        new Promise((resolve) => {
          state.onChange = () => {
            const last = state.messages.at(-1);
            if (last.role === "assistant" && text(last).length > 3) resolve();
          };
        }),
        "text of a reply",
      );

    async function query(source, variables) {
      const response = await fetch(server.url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ query: source, variables }),
      });
      const { data, errors } = await response.json();
      assert.equal(errors, undefined);
      return data;
    }

    /** What the server has stored of a conversation. */
    async function stored(id) {
      const found = await query(
        `query ($id: ID!) { conversation(id: $id) { title messages(first: 50) { nodes { id role content status } } } }`,
        { id },
      );
      return found.conversation;
    }

    test("a message is answered, and its title comes as data", async () => {
      const { chat: one, state, seen } = chat();
      await within(one.sendMessage({ text: "Plan a trip to Kyoto in April" }), "answer");
      assert.deepEqual(seen.errors, []);
      assert.equal(state.messages.length, 2);
      const reply = state.messages[1];
      const { conversationId, outcome } = reply.metadata;
      assert.equal(outcome, "completed");
      const title = seen.data.find((part) => part.type === "data-conversation-title");
      assert.equal(title.data.conversationId, conversationId);
      assert.equal(title.data.titleStatus, "READY");
      assert.ok(reply.parts.every((part) => !part.type.startsWith("data-")), "the title is kept by no message");
      const { title: now, messages } = await stored(conversationId);
      assert.equal(now, title.data.title);
      assert.deepEqual(
        messages.nodes.map((message) => message.content),
        ["Plan a trip to Kyoto in April", text(reply)],
      );
      assert.equal(messages.nodes[1].id, reply.id);

      await within(one.sendMessage({ text: "And what about May?" }), "second answer");
      const later = (await stored(conversationId)).messages.nodes;
      assert.equal(later.length, 4, "the messages before are not stored again");
    });

    test("a reply goes on after a cut, on another page with the same id", async () => {
      const { chat: first, state } = chat();
      const sending = first.sendMessage({ text: "Write about the deer of Nara, at length" });
      await writing(state);
      const { id } = first;
      const { chat: second, state: resumed } = chat({ id, messages: state.messages.slice(0, 1) });
      await within(second.resumeStream(), "resumed reply");
      await within(sending, "first reader's end");
      assert.equal(text(resumed.messages.at(-1)), text(state.messages.at(-1)));
      assert.equal(resumed.messages.length, 2);
      const { conversationId } = resumed.messages[1].metadata;
      assert.equal((await stored(conversationId)).messages.nodes[1].content, text(resumed.messages[1]));
      await within(second.resumeStream(), "nothing to resume");
      assert.equal(second.error, undefined);
    });

    test("leaving is not stopping, and a stop keeps the text", async () => {
      const { chat: one, state } = chat();
      const sending = one.sendMessage({ text: "Write about temples, at length" });
      await writing(state);
      await one.stop();
      await within(sending, "end of the reader");
      const again = chat({ id: one.id, messages: state.messages.slice(0, 1) });
      const resuming = again.chat.resumeStream();
      await writing(again.state);
      const stop = await fetch(new URL(`/api/v1/ui/chat/${encodeURIComponent(one.id)}/stop`, server.url), { method: "POST" });
      assert.deepEqual([stop.status, await stop.json()], [200, { stopped: true }]);
      await within(resuming, "end after the stop");
      const reply = again.state.messages.at(-1);
      assert.equal(reply.metadata.outcome, "stopped");
      const [, kept] = (await stored(reply.metadata.conversationId)).messages.nodes;
      assert.equal(kept.status, "INCOMPLETE");
      assert.equal(kept.content, text(reply));
    });

    test("another reply, and another text, replace what was there", async () => {
      const { chat: one, state } = chat();
      await within(one.sendMessage({ text: "Plan a trip to Oslo" }), "answer");
      const { conversationId } = state.messages[1].metadata;
      const before = state.messages[1].id;
      await within(one.regenerate(), "another reply");
      assert.equal(one.error, undefined);
      assert.equal(state.messages.length, 2);
      assert.notEqual(state.messages[1].id, before);
      const messageId = state.messages[0].id;
      await within(one.sendMessage({ text: "Plan a trip to Bergen", messageId }), "answer to the edit");
      assert.equal(one.error, undefined);
      const { messages } = await stored(conversationId);
      assert.deepEqual(
        messages.nodes.map((message) => message.content),
        ["Plan a trip to Bergen", text(state.messages[1])],
      );
    });

    test("an error before the stream is a text that the client shows", async () => {
      const { chat: one } = chat();
      await within(one.sendMessage({ text: "   " }), "error");
      assert.equal(one.error.message, "the message is empty");
      const twice = chat({ body: {} });
      const message = { id: "m1", role: "user", parts: [{ type: "text", text: "Plan a trip" }] };
      await within(twice.chat.sendMessage(message), "answer");
      const other = chat({ id: twice.chat.id });
      const changed = { ...message, parts: [{ type: "text", text: "Plan another trip" }] };
      await within(other.chat.sendMessage(changed), "conflict");
      assert.match(other.chat.error.message, /used with another text/);
    });

    test("the same message sent again is the same turn", async () => {
      const message = { id: "m1", role: "user", parts: [{ type: "text", text: "Plan a trip" }] };
      const one = chat();
      await within(one.chat.sendMessage(message), "answer");
      const again = chat({ id: one.chat.id });
      await within(again.chat.sendMessage(message), "the same answer");
      assert.equal(again.state.messages[1].id, one.state.messages[1].id);
      const { conversationId } = one.state.messages[1].metadata;
      assert.equal((await stored(conversationId)).messages.nodes.length, 2);
    });
  });
}
