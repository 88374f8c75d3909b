// The package against a live server: what an agent records and tees is there, titled, once, whatever is cut.
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { Titlecast, TitlecastError } from "titlecast";
import { Decoder } from "../src/decode.js";
import { chat, startDesk, startLine, startModel, startServer, until } from "./support.js";

const PROMPT = "How do I prune an apple tree in 40 words";
const STOP = "mutation ($id: ID!) { stopReply(input: { replyId: $id }) { stopped } }";
let model, server, titlecast;
before(async () => {
  [model, server] = await Promise.all([startModel(), startServer(["--ingest-idle", "3s"])]);
  titlecast = new Titlecast({ url: server.url });
});
after(async () => {
  await titlecast.close();
  model.end();
  await server.end();
});

let threads = 0;
const thread = () => `thread ${++threads}/ü`;
const textOf = async (bytes) => {
  const decoder = new Decoder();
  return decoder.feed(new Uint8Array(bytes)).filter(({ type }) => type === "text").map(({ text }) => text).join("");
};
const written = (id) =>
  until(async () => {
    const messages = await server.messages(id);
    return messages?.length === 2 && messages[1].outcome && messages;
  }, "reply");

test("a recorded message is titled, and recorded once", async () => {
  const id = thread();
  const message = { content: PROMPT, message_id: crypto.randomUUID() };
  await titlecast.recordMessage(id, message);
  await titlecast.recordMessage(id, message);
  await until(async () => (await server.conversation(id)).titleStatus === "READY", "title");
  assert.deepEqual((await server.messages(id)).map(({ content }) => content), [PROMPT]);
  const other = titlecast.recordMessage(id, { ...message, content: "Other words" });
  await assert.rejects(other, (error) => error instanceof TitlecastError && error.status === 409);
});

test("a message with an external id is recorded once, and a repeat is the one that is answered", async () => {
  const id = thread();
  const message = { content: PROMPT, external_id: "q-1" };
  const [first, again] = [await titlecast.recordMessage(id, message), await titlecast.recordMessage(id, message)];
  assert.deepEqual([first.status, again.status, again.message_id], ["created", "exists", first.message_id]);
  const other = titlecast.recordMessage(id, { ...message, content: "Other words" });
  await assert.rejects(other, (error) => error.code === "ID_TAKEN");
  await titlecast.recordMessage(id, "A later question");
  const reply = titlecast.reply(id, { message });
  reply.text("In late winter");
  reply.finish();
  assert.deepEqual(await reply.ended, { outcome: "completed" });
  const messages = await server.messages(id);
  assert.deepEqual([messages.length, messages.at(-1).inReplyTo], [3, first.message_id]);
});

test("a refusal has the server's words", async () => {
  const first = titlecast.recordMessage(thread(), { role: "assistant", content: "Hello" });
  await assert.rejects(first, ({ detail, message }) => /first message/.test(detail) && message.endsWith(detail));
  const { ended } = titlecast.reply(thread(), { message: { role: "nobody", content: "Hello" } });
  assert.match((await ended).error, /422 INVALID_INPUT: .*role/);
});

test("users are who they are called", async (t) => {
  const server = await startServer([], {
    TITLECAST_JWT_SECRET: "as long as a secret has to be, and no secret",
    TITLECAST_JWT_ISSUER: "https://issuer.example",
    TITLECAST_JWT_AUDIENCE: "titlecast",
  });
  t.after(server.end);
  const titlecast = new Titlecast({ url: server.url, token: server.token("agent", "conversations:ingest") });
  for (const user of ["ada", "%61da", "100%25", "Jürgen", "日本", "a b/c@x.de"]) {
    await titlecast.recordMessage("a", user, { user, tenant: "acme" });
  }
  for (const user of ["ada", "%61da", "100%25", "Jürgen", "日本", "a b/c@x.de"]) {
    const messages = await server.messages("a", server.token(user, "conversations:read"));
    assert.deepEqual(messages.map(({ content }) => content), [user]);
  }
});

test("the agent of a reply is the message's too", async (t) => {
  const server = await startDesk();
  t.after(server.end);
  const titlecast = new Titlecast({ url: server.url });
  for (const [id, message] of [["kept", { content: PROMPT, agent: "triage" }], ["dropped", PROMPT]]) {
    const reply = titlecast.reply(id, { message, agent: "desk" });
    reply.finish();
    await reply.ended;
    await until(async () => (await server.conversation(id)).titleStatus === "READY", "title");
    assert.equal((await server.messages(id))[0].content, id === "kept" ? PROMPT : "");
  }
});

test("a response's body is a reply", async () => {
  const id = thread();
  const { body } = await chat(model, PROMPT);
  const passed = await new Response(titlecast.tee(body, id, { message: PROMPT })).arrayBuffer();
  const [message, answer] = await written(id);
  assert.deepEqual([message.role, message.content], ["USER", PROMPT]);
  assert.deepEqual([answer.role, answer.content, answer.outcome], ["ASSISTANT", await textOf(passed), "COMPLETED"]);
  assert.equal(answer.model, "scripted");
  await until(async () => (await server.conversation(id)).displayName, "title");
});

test("an upload that is cut goes on where it was", async () => {
  const line = await startLine(server.port, 4);
  const id = thread();
  const cut = new Titlecast({ url: line.url });
  const { body } = await chat(model, "How do I prune a fig in 200 words");
  const reply = cut.reply(id, { message: PROMPT });
  const passed = await new Response(reply.tee(body, { ends: true })).arrayBuffer();
  assert.deepEqual(await reply.ended, { outcome: "completed" });
  line.end();
  assert.equal(line.cuts, 4);
  const [, answer] = await written(id);
  assert.deepEqual([answer.content, answer.outcome], [await textOf(passed), "COMPLETED"]);
});

test("a byte order mark at the beginning of a piece is text, also after cuts", async () => {
  const line = await startLine(server.port, 4);
  const id = thread();
  const cut = new Titlecast({ url: line.url });
  const reply = cut.reply(id, { message: PROMPT });
  const pieces = Array.from({ length: 200 }, (_, number) => `\ufeffwörd${number} `);
  for await (const _ of reply.tee(paced(pieces), { ends: true })) continue;
  assert.deepEqual(await reply.ended, { outcome: "completed" });
  line.end();
  assert.equal(line.cuts, 4);
  assert.equal((await written(id))[1].content, pieces.join(""));
});

async function* paced(pieces) {
  for (const delta of pieces) {
    await delay(5);
    yield { type: "text-delta", id: "1", delta };
  }
  yield { type: "finish" };
}

test("a stop reaches the agent while its model is silent", async () => {
  const id = thread();
  const reply = titlecast.reply(id, { message: PROMPT });
  reply.text("Prune it");
  const stops = async () => (await server.ask(STOP, { id: reply.id })).stopReply.stopped;
  await until(() => stops().catch(() => false), "reply that can be stopped"); // it may not be opened yet
  await until(() => reply.signal.aborted, "stop");
  assert.deepEqual(await reply.ended, { outcome: "stopped" });
  assert.equal((await written(id))[1].content, "Prune it");
});

test("a reader that leaves makes an incomplete reply", async () => {
  const id = thread();
  const reader = titlecast.tee((await chat(model, PROMPT)).body, id, { message: PROMPT }).getReader();
  for (let chunk = 0; chunk < 5; chunk += 1) await reader.read();
  await reader.cancel();
  assert.equal((await written(id))[1].outcome, "INCOMPLETE");
});

test("each id of a conversation is its own", async () => {
  const ids = ["/", "a/b", "a#b", "a?b=c", "a%b", "a%2Fb", "%2F", "a&b", "a+b", "a b", ".a", "...", "a;b", "日本", "🌳", " a", "a//b", "a\\b"];
  for (const id of ids) {
    const reply = titlecast.reply(`${id} js`, { message: `Q ${id}` });
    reply.text(`A ${id}`);
    reply.finish();
    assert.deepEqual(await reply.ended, { outcome: "completed" });
  }
  for (const id of ids) {
    assert.deepEqual((await server.messages(`${id} js`)).map(({ content }) => content), [`Q ${id}`, `A ${id}`]);
  }
});

test("a text and a result larger than a line do not end the upload", async () => {
  const id = thread();
  const reply = titlecast.reply(id, { message: PROMPT });
  reply.text("🌳".repeat(100_000));
  reply.part({ type: "tool", id: "c", name: "read", arguments: "{}" });
  reply.part({ type: "tool", id: "c", name: "read", result: "x".repeat(300_000) });
  reply.text("!");
  reply.finish();
  assert.deepEqual(await reply.ended, { outcome: "completed" });
  const [, answer] = await written(id);
  assert.equal(answer.content, `${"🌳".repeat(100_000)}!`);
  const tools = answer.parts.filter(({ __typename }) => __typename === "ToolPart");
  assert.deepEqual(tools.map(({ state }) => state), ["CALLED"]);
});

test("a last event without a line break counts", async () => {
  const id = thread();
  const body = new Blob(['data: {"choices":[{"delta":{"content":"Late"},"finish_reason":"stop"}]}']).stream();
  await new Response(titlecast.tee(body, id, { message: PROMPT })).text();
  const [, answer] = await written(id);
  assert.deepEqual([answer.content, answer.outcome], ["Late", "COMPLETED"]);
});

test("tools are shown with their results", async () => {
  const id = thread();
  const reply = titlecast.reply(id, { message: PROMPT });
  const items = [
    { type: "tool-input-available", toolCallId: "c", toolName: "weather", input: { city: "Kyoto" } },
    { type: "tool-output-available", toolCallId: "c", output: { sky: "clear" } },
    { type: "text-delta", id: "1", delta: "It is clear." },
    { type: "finish" },
  ];
  for await (const _ of reply.tee((async function* () { yield* items; })())) continue;
  reply.finish();
  const [, answer] = await written(id);
  const tool = answer.parts.find(({ __typename }) => __typename === "ToolPart");
  assert.deepEqual([tool.callId, tool.name, tool.arguments, tool.state], ["c", "weather", '{"city":"Kyoto"}', "COMPLETED"]);
  assert.match(tool.result, /clear/);
});
