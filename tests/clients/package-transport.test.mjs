// `titlecastTransport` of the package, as the AI SDK's chat uses it, versions 5 to 7: what it sends, cuts, a server that is killed in
// the middle of a reply, stop, history. What `useChat` does with it is in use-chat.test.mjs.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import net from "node:net";
import { after, before, suite, test } from "node:test";

import * as ai5 from "ai5";
import * as ai6 from "ai6";
import * as ai7 from "ai7";
import { titlecastTransport } from "titlecast/ai";
import { Titlecast } from "titlecast";

import { Server, startModel, within } from "./support.mjs";

let model, server;
before(async () => {
  model = await startModel(0.01);
  server = await Server.start({ ...model.settings, TITLECAST_LOG: "off" });
});
after(async () => {
  await server.end();
  model.end();
});

const origin = () => new URL(server.url).origin;
const textOf = (message) => message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
const person = (text) => ({ id: crypto.randomUUID(), role: "user", parts: [{ type: "text", text }] });
const sending = (chatId, messages, more) => ({ trigger: "submit-message", chatId, messages, messageId: undefined, ...more });

/** The chunks of a stream, and the message that the SDK's reader makes of them. */
async function read(stream, onChunk = () => {}, { readUIMessageStream } = ai7) {
  const chunks = [];
  const watched = stream.pipeThrough(new TransformStream({
    transform(chunk, controller) {
      chunks.push(chunk);
      controller.enqueue(chunk);
      return onChunk(chunk, chunks);
    },
  }));
  let message;
  for await (const one of readUIMessageStream({ stream: watched, terminateOnError: true })) message = one;
  return { chunks, message };
}

/** A line to the server that breaks after some bytes of each answer, `cuts` times. */
async function startLine(cuts) {
  const line = { cuts: 0 };
  const proxy = net.createServer((client) => {
    const there = net.connect(server.port, "127.0.0.1");
    const end = () => (client.destroy(), there.destroy());
    for (const socket of [client, there]) socket.on("error", end).on("close", end);
    let rest = line.cuts < cuts ? 900 + Math.floor(Math.random() * 1500) : Infinity;
    client.on("data", (bytes) => there.write(bytes));
    there.on("data", (bytes) => {
      if ((rest -= bytes.length) >= 0) return client.write(bytes);
      line.cuts += 1;
      client.write(bytes.subarray(0, Math.max(bytes.length + rest, 0)), end);
    });
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  line.url = `http://127.0.0.1:${proxy.address().port}`;
  line.end = () => proxy.close();
  return line;
}

test("only the last message is sent, with the token and the headers of the moment", async () => {
  const seen = [];
  const fetch = async (url, init) => {
    seen.push({ url, body: JSON.parse(init.body), headers: new Headers(init.headers) });
    return globalThis.fetch(url, init);
  };
  let number = 0;
  const transport = titlecastTransport({
    url: `${origin()}/`, fetch, token: async () => `token-${++number}`, headers: { "x-own": "1" }, agent: "triage",
    conversation: async (id) => `thread of ${id}`,
  });
  const answer = { id: "2", role: "assistant", parts: [{ type: "text", text: "Answer" }] };
  const messages = [person("First"), answer, person("Last in 3 words")];
  const options = sending("7", messages, { headers: { "x-more": "2" }, body: { topicHint: "Hint" } });
  const { message } = await read(await transport.sendMessages(options));
  assert.equal(message.metadata.outcome, "completed");
  const [{ url, body, headers }] = seen;
  assert.equal(url, `${origin()}/api/v1/ui/chat`);
  assert.deepEqual(body, { agent: "triage", topicHint: "Hint", id: "thread of 7", messages: messages.slice(-1), trigger: "submit-message" });
  assert.deepEqual(["authorization", "x-own", "x-more"].map((name) => headers.get(name)), ["Bearer token-1", "1", "2"]);
  assert.deepEqual((await transport.history("7")).map(textOf), ["Last in 3 words", textOf(message)]);
});

for (const [name, ai] of Object.entries({ ai5, ai6, ai7 })) {
  suite(`${name}: a reply over a line that breaks`, () => {
    for (const trigger of ["submit-message", "regenerate-message"]) {
      test(trigger, async () => {
        const chatId = crypto.randomUUID();
        const message = person("How do I prune an apple tree in 200 words");
        const direct = titlecastTransport({ url: origin() });
        if (trigger === "regenerate-message") await read(await direct.sendMessages(sending(chatId, [message])));
        const line = await startLine(4);
        const transport = titlecastTransport({ url: line.url });
        const { message: made, chunks } = await read(await transport.sendMessages(sending(chatId, [message], { trigger })), undefined, ai);
        line.end();
        const [, stored] = await direct.history(chatId);
        assert.deepEqual([made.id, textOf(made), made.metadata.outcome], [stored.id, textOf(stored), "completed"]);
        assert.ok(line.cuts > 1, `${line.cuts} cuts`);
        assert.equal(chunks.filter(({ type }) => type === "text-start").length, 1, "one block, in spite of the cuts");
      });
    }
  });
}

test("a server that is killed in the middle of a reply: the text that it kept is there, and the reply ends", async (t) => {
  const own = await Server.start({ ...model.settings, TITLECAST_LOG: "off", TITLECAST_REPLY_LEASE: "6s" });
  t.after(() => own.end());
  const transport = titlecastTransport({ url: new URL(own.url).origin });
  const chatId = crypto.randomUUID();
  let restart;
  const onChunk = (chunk, { length }) => (length === 300 ? (restart = own.restart("SIGKILL")) : undefined);
  const stream = await transport.sendMessages(sending(chatId, [person("How do I prune an apple tree in 800 words")]));
  const { message } = await within(read(stream, onChunk), "end of the reply", 30_000);
  await restart;
  assert.equal(message.metadata.outcome, "incomplete");
  const [, stored] = await transport.history(chatId);
  assert.equal(stored.id, message.id);
  assert.ok(textOf(message).startsWith(textOf(stored)) || textOf(stored).startsWith(textOf(message)));
  assert.ok(textOf(stored).length > 100);
});

test("a reply that ended while nobody could read it is taken from what is stored", async () => {
  const chatId = crypto.randomUUID();
  const titlecast = new Titlecast({ url: origin() });
  await titlecast.recordMessage(chatId, "A question to a program");
  const reply = titlecast.reply(chatId);
  reply.text("It begins, ");
  reply.part({ type: "data", name: "job", id: "j1", data: "loading" });
  reply.part({ type: "data", name: "note", data: "no id" });
  let isAway = false;
  const failures = [() => new Response("too many open streams", { status: 429 }), () => new Response('{"data":{"no')];
  const fetch = async (url, init) => {
    if (isAway && /stream$/.test(url)) await reply.ended;
    // The first resume is refused, and the first answer with the stored reply is cut.
    if (isAway && failures.length === (/graphql$/.test(url) ? 1 : 2)) return failures.shift()();
    const response = await globalThis.fetch(url, init);
    if (isAway || !/stream$/.test(url) || response.status !== 200) return response;
    isAway = true;
    // Cut after the first data.
    const reader = response.body.getReader();
    const body = new ReadableStream({
      async pull(controller) {
        const { value } = await reader.read();
        controller.enqueue(value);
        if (!new TextDecoder().decode(value).includes("no id")) return;
        reply.part({ type: "data", name: "job", id: "j1", data: "success" });
        reply.part({ type: "tool", id: "1", name: "weather", arguments: '{"city":"Nara"}' });
        reply.part({ type: "tool", id: "1", name: "weather", result: { sky: "clear" } });
        reply.part({ type: "data", name: "place", data: { name: "Nara" } });
        reply.text("and it ends.");
        reply.finish();
        await reader.cancel();
        controller.close();
      },
    });
    return new Response(body, response);
  };
  const transport = titlecastTransport({ url: origin(), fetch });
  let stream;
  for (const end = Date.now() + 10_000; !stream && Date.now() < end; ) stream = await transport.reconnectToStream({ chatId });
  const { message, chunks } = await within(read(stream), "end of the reply");
  assert.equal(message.metadata.outcome, "completed");
  assert.deepEqual(failures, []);
  const parts = message.parts.filter(({ type }) => type !== "step-start");
  const shown = (parts) => parts.map(({ type, text, output, data }) => [type, text ?? output ?? data]);
  assert.deepEqual(shown(parts), [
    ["text", "It begins, "], ["data-job", "success"], ["data-note", "no id"], ["dynamic-tool", { sky: "clear" }], ["data-place", { name: "Nara" }], ["text", "and it ends."],
  ]);
  assert.equal(chunks.filter(({ type }) => type === "start").length, 1);
  const [, stored] = await transport.history(chatId);
  assert.deepEqual(shown(stored.parts), shown(parts));
  assert.deepEqual(stored.parts.filter(({ id }) => id).map(({ id }) => id), ["j1"]);
  assert.equal(await transport.reconnectToStream({ chatId }), null);
  await titlecast.close();
});

test("with stopOnAbort a stop of the SDK's chat stops the reply, and without it that is left", async () => {
  for (const stopOnAbort of [false, true]) {
    const transport = titlecastTransport({ url: origin(), stopOnAbort });
    const chatId = crypto.randomUUID();
    const abort = new AbortController();
    const options = sending(chatId, [person("How do I prune an apple tree in 100 words")], { abortSignal: abort.signal });
    const stream = await transport.sendMessages(options);
    await assert.rejects(read(stream, (chunk) => chunk.type === "text-delta" && abort.abort()), { name: "AbortError" });
    const resumed = await transport.reconnectToStream({ chatId });
    if (resumed) await within(read(resumed), "end of the reply");
    const [, { metadata }] = await transport.history(chatId);
    assert.equal(metadata.outcome, stopOnAbort ? "stopped" : "completed");
  }
});

test("with stopOnAbort a stop while the message is on its way stops the reply", async () => {
  const chatId = crypto.randomUUID();
  const abort = new AbortController();
  const fetch = (url, init) => {
    const answer = globalThis.fetch(url, init);
    if (/chat$/.test(url)) abort.abort();
    return answer;
  };
  const transport = titlecastTransport({ url: origin(), fetch, stopOnAbort: true });
  const options = sending(chatId, [person("How do I prune an apple tree in 800 words")], { abortSignal: abort.signal });
  await assert.rejects(transport.sendMessages(options), { name: "AbortError" });
  let reply;
  for (const end = Date.now() + 30_000; !reply && Date.now() < end; ) [, reply] = await transport.history(chatId);
  assert.equal(reply.metadata.outcome, "stopped");
});

test("a token that expires in the middle of a reply is a cut: the reply goes on with a new token", async (t) => {
  const secret = "s".repeat(32);
  const jwt = { TITLECAST_JWT_SECRET: secret, TITLECAST_JWT_ISSUER: "i", TITLECAST_JWT_AUDIENCE: "a" };
  const own = await Server.start({ ...model.settings, ...jwt, TITLECAST_LOG: "off" });
  t.after(() => own.end());
  const scope = "conversations:read conversations:write";
  const base64 = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const tokenFor = (seconds) => {
    const now = Math.floor(Date.now() / 1000);
    const claims = { sub: "ada", tenant: "acme", iss: "i", aud: "a", scope, iat: now, exp: now + seconds };
    const text = `${base64({ alg: "HS256", typ: "JWT" })}.${base64(claims)}`;
    return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
  };
  let asked = 0;
  // The server accepts a token for 30 s more.
  const transport = titlecastTransport({ url: new URL(own.url).origin, token: async () => tokenFor(asked++ ? 60 : -26) });
  const chatId = crypto.randomUUID();
  const { message, chunks } = await read(await transport.sendMessages(sending(chatId, [person("How do I prune an apple tree in 800 words")])));
  const [, stored] = await transport.history(chatId);
  assert.deepEqual([message.id, textOf(message), message.metadata.outcome], [stored.id, textOf(stored), "completed"]);
  assert.ok(asked > 2, `${asked} tokens`); // sent, resumed, history
  assert.equal(chunks.filter(({ type }) => type === "text-start").length, 1, "one block, in spite of the cut");
});

test("an error before the stream is the server's text; a server that cannot be reached is tried again", async () => {
  const transport = titlecastTransport({ url: origin() });
  await assert.rejects(transport.sendMessages(sending("e", [person("  ")])), { message: "the message is empty" });
  assert.deepEqual(await transport.history("unknown"), []);
  let failures = 2;
  const fetch = (...args) => (failures-- > 0 ? Promise.reject(new TypeError("fetch failed")) : globalThis.fetch(...args));
  const patient = titlecastTransport({ url: origin(), fetch });
  const { message } = await read(await patient.sendMessages(sending(crypto.randomUUID(), [person("Hello in 3 words")])));
  assert.equal(message.metadata.outcome, "completed");
  failures = 1;
  assert.equal(await patient.reconnectToStream({ chatId: crypto.randomUUID() }), null);
  failures = 1;
  const again = sending(crypto.randomUUID(), [person("Hello")], { trigger: "regenerate-message" });
  await assert.rejects(patient.sendMessages(again), { name: "TypeError" }, "a further reply is not asked for twice");
});
