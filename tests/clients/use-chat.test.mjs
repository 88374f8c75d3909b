// The AI SDK's `useChat` in React, versions 5 to 7, against the server, with its own transport and with that of the package:
// send, title, resume after a reload, stop, regenerate, edit.

import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";

import { mount } from "./react.mjs";
import { Server, within } from "./support.mjs";

const sdks = {
  ai5: [await import("ai-react5"), await import("ai5")],
  ai6: [await import("ai-react6"), await import("ai6")],
  ai7: [await import("ai-react7"), await import("ai7")],
};
const { titlecastTransport } = await import("titlecast/ai");

let server;
before(async () => (server = await Server.start()));
after(() => server.end());

const origin = () => new URL(server.url).origin;
const textOf = (message) => message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
const MESSAGES = `query ($id: ID!) { conversation(id: $id) { title messages(first: 50) { nodes { id role content outcome } } } }`;

async function stored(id) {
  const body = JSON.stringify({ query: MESSAGES, variables: { id } });
  const response = await fetch(server.url, { method: "POST", headers: { "content-type": "application/json" }, body });
  return (await response.json()).data.conversation;
}

for (const [name, [{ useChat }, { DefaultChatTransport }]] of Object.entries(sdks)) {
  const transports = {
    DefaultChatTransport: () => new DefaultChatTransport({ api: `${origin()}/api/v1/ui/chat` }),
    titlecastTransport: () => titlecastTransport({ url: origin() }),
  };
  for (const [kind, transport] of Object.entries(transports)) {
    suite(`${name}, ${kind}`, { concurrency: true }, () => {
      function chat({ id = crypto.randomUUID(), ...options } = {}) {
        const data = [];
        const one = transport();
        const page = mount(() => useChat({ id, transport: one, onData: (part) => data.push(part), ...options }));
        return Object.assign(page, { id, data, transport: one });
      }
      const ready = (page, messages) =>
        page.until((now) => now.status === "ready" && now.messages.length === messages && now.messages, "whole answer");
      const writing = (page) =>
        page.until((now) => now.messages.at(-1)?.role === "assistant" && textOf(now.messages.at(-1)).length > 3, "text of a reply");

      test("a message is answered, and its title comes as data", async () => {
        const page = chat();
        await page.until((now) => now.status === "ready", "chat");
        page.now.sendMessage({ text: "Plan a trip to Kyoto in April" });
        const [, reply] = await ready(page, 2);
        assert.equal(reply.metadata.outcome, "completed");
        const title = page.data.find((part) => part.type === "data-conversation-title").data;
        const { title: now, messages } = await stored(reply.metadata.conversationId);
        assert.equal(now, title.title);
        assert.deepEqual(messages.nodes.map(({ content }) => content), ["Plan a trip to Kyoto in April", textOf(reply)]);
        page.now.sendMessage({ text: "And what about May?" });
        await ready(page, 4);
        assert.equal((await stored(title.conversationId)).messages.nodes.length, 4);
        page.unmount();
      });

      test("a reply goes on after a reload, and is there once", async () => {
        const first = chat();
        await first.until((now) => now.status === "ready", "chat");
        first.now.sendMessage({ text: "Write about the deer of Nara, at length" });
        await writing(first);
        const messages = first.now.messages.slice(0, 1);
        first.unmount();
        const second = chat({ id: first.id, messages, resume: true });
        await writing(second);
        const [, reply] = await ready(second, 2);
        const { messages: kept } = await stored(reply.metadata.conversationId);
        assert.deepEqual(kept.nodes.map(({ content }) => content), [textOf(messages[0]), textOf(reply)]);
        assert.equal(kept.nodes[1].outcome, "COMPLETED");
        second.unmount();
        const third = chat({ id: first.id, messages: second.now.messages, resume: true });
        // Version 5.0.0 stays "submitted" if no reply runs; later ones are ready.
        await third.until((now) => now.status === (name === "ai5" ? "submitted" : "ready") && now, "chat");
        assert.deepEqual([third.now.error, third.now.messages.length], [undefined, 2]);
        third.unmount();
      });

      test("leaving is not stopping, and a stop keeps the text", async () => {
        const page = chat();
        await page.until((now) => now.status === "ready", "chat");
        page.now.sendMessage({ text: "Write about temples, at length" });
        await writing(page);
        if (page.transport.stop) {
          assert.equal(await page.transport.stop(page.id), true);
          await ready(page, 2);
        } else {
          await within(page.now.stop(), "end of the reader");
          await ready(page, 2);
          await fetch(`${origin()}/api/v1/ui/chat/${page.id}/stop`, { method: "POST" });
        }
        assert.equal(page.now.error, undefined);
        const { metadata } = page.now.messages[1];
        const [, kept] = await ended(metadata.conversationId);
        assert.equal(kept.outcome, "STOPPED");
        assert.ok(kept.content.startsWith(textOf(page.now.messages[1])));
        if (page.transport.stop) assert.deepEqual([metadata.outcome, textOf(page.now.messages[1])], ["stopped", kept.content]);
        page.unmount();
      });

      test("another reply, and another text, replace what was there", async () => {
        const page = chat();
        await page.until((now) => now.status === "ready", "chat");
        page.now.sendMessage({ text: "Plan a trip to Oslo" });
        const [, { id: before, metadata }] = await ready(page, 2);
        page.now.regenerate();
        await page.until((now) => now.status === "ready" && now.messages[1] && now.messages[1].id !== before, "another reply");
        const messageId = page.now.messages[0].id;
        const again = page.now.messages[1].id;
        page.now.sendMessage({ text: "Plan a trip to Bergen", messageId });
        await page.until((now) => now.status === "ready" && now.messages[1] && now.messages[1].id !== again, "answer to the edit");
        const { messages } = await stored(metadata.conversationId);
        assert.deepEqual(messages.nodes.map(({ content }) => content), ["Plan a trip to Bergen", textOf(page.now.messages[1])]);
        page.unmount();
      });
    });
  }
}

/** The messages of a conversation as soon as its reply has ended. */
async function ended(id) {
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    const { nodes } = (await stored(id)).messages;
    if (nodes[1]?.outcome) return nodes;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("the reply did not end");
}
