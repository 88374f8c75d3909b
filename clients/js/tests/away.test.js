// A Titlecast that fails is not noticed by the agent: its stream comes whole, at its own pace.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import test, { after, before } from "node:test";

import { Titlecast, TitlecastError } from "titlecast";
import { chat, startModel } from "./support.js";

const PROMPT = "Tell me of trees in 40 words";
let model;
before(async () => (model = await startModel(0.002)));
after(() => model.end());

const whole = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
};

/** A server that does so with each connection. */
async function server(t, treat) {
  const sockets = new Set();
  const listener = net.createServer((socket) => (sockets.add(socket), socket.on("error", () => {}), treat(socket)));
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  return `http://127.0.0.1:${listener.address().port}`;
}

test("no server, silent ones and closing ones neither change nor delay a stream", async (t) => {
  let begun = performance.now();
  const plain = await whole((await chat(model, PROMPT)).body);
  const alone = performance.now() - begun;
  const silent = await server(t, () => {});
  const closing = await server(t, (socket) => socket.once("data", () => socket.destroy()));
  for (const url of ["http://127.0.0.1:9", silent, closing]) {
    const titlecast = new Titlecast({ url, patienceMs: 500 });
    const written = titlecast.reply("a-thread", { message: PROMPT });
    begun = performance.now();
    const response = new Response(written.tee((await chat(model, PROMPT)).body, { ends: true }));
    assert.equal(await whole(response.body), plain);
    assert.ok(performance.now() - begun < alone + 300, url);
    await titlecast.close(1_000);
    if (url !== silent) assert.match((await written.ended).error, /not recorded/);
  }
});

test("closing waits no longer than it is told", async (t) => {
  const titlecast = new Titlecast({ url: await server(t, () => {}) });
  titlecast.reply("a-thread").text("A word");
  const begun = performance.now();
  await titlecast.close(300);
  assert.ok(performance.now() - begun < 1_000);
});

test("recording says that there is no answer", async () => {
  const titlecast = new Titlecast({ url: "http://127.0.0.1:9", patienceMs: 300 });
  await assert.rejects(titlecast.recordMessage("a-thread", "Hello"), (error) => error instanceof TitlecastError && error.status === 0);
});

test("errors of the agent's own stream reach the agent, and a reader that leaves reaches the stream", async () => {
  const titlecast = new Titlecast({ url: "http://127.0.0.1:9", patienceMs: 100 });
  const broken = new ReadableStream({ pull: (controller) => controller.error(new Error("the agent's own")) });
  await assert.rejects(whole(titlecast.tee(broken, "a-thread")), /the agent's own/);
  let reason;
  const silent = new ReadableStream({ cancel: (given) => (reason = given) });
  const reader = titlecast.tee(silent, "a-thread").getReader();
  reader.read().catch(() => {});
  await reader.cancel("enough");
  assert.equal(reason, "enough");
});

test("nothing is read ahead of the reader", async () => {
  let pulled = 0;
  const source = new ReadableStream({ pull: (controller) => controller.enqueue(++pulled) }, { highWaterMark: 0 });
  const reader = new Titlecast({ url: "http://127.0.0.1:9", patienceMs: 100 }).tee(source, "a-thread").getReader();
  await reader.read();
  await new Promise(setImmediate);
  assert.equal(pulled, 1);
  await reader.cancel();
});

test("an iterable is closed by a reader that leaves, also before its first item, and its reply ends", async () => {
  for (const count of [0, 1]) {
    let closed = 0;
    const source = { n: 0, next: async () => ({ done: false, value: source.n++ }), return: async () => (closed++, { done: true }) };
    const titlecast = new Titlecast({ url: "http://127.0.0.1:9", patienceMs: 100 });
    const reply = titlecast.reply("a-thread");
    let ended;
    const finish = reply.finish.bind(reply);
    reply.finish = (outcome) => ((ended = outcome), finish(outcome));
    const passed = reply.tee({ [Symbol.asyncIterator]: () => source }, { ends: true });
    for (let n = 0; n < count; n += 1) assert.deepEqual(await passed.next(), { done: false, value: n });
    await passed.return();
    assert.deepEqual([closed, ended], [1, "incomplete"]);
  }
});

test("a reader that leaves at the finish reason has a whole reply", async () => {
  const chunk = (finish_reason) => ({ choices: [{ delta: { content: "A" }, finish_reason }] });
  for (const asStream of [false, true]) {
    const reply = new Titlecast({ url: "http://127.0.0.1:9", patienceMs: 100 }).reply("a-thread");
    let ended;
    reply.finish = (outcome) => (ended = outcome);
    const items = (async function* () { yield* [chunk(null), chunk("stop"), chunk(null)]; })();
    const passed = reply.tee(asStream ? ReadableStream.from(items) : items, { ends: true });
    for await (const item of passed) if (item.choices[0].finish_reason) break;
    assert.equal(ended, "completed");
  }
});

test("messages of a conversation are recorded in the order in which they were given", async (t) => {
  const seen = new Set();
  const stored = [];
  const busy = http.createServer(async (request, response) => {
    const chunks = await request.toArray();
    const { message_id: id, content } = JSON.parse(Buffer.concat(chunks));
    const isLater = content !== "1" || seen.has(id); // the first one is stored at its second try
    if (isLater) stored.push(request.url.at("/api/v1/conversations/".length) + content);
    response.writeHead(isLater ? 201 : 503).end("{}");
    seen.add(id);
  });
  busy.listen(0, "127.0.0.1");
  await once(busy, "listening");
  t.after(() => busy.close());
  const titlecast = new Titlecast({ url: `http://127.0.0.1:${busy.address().port}` });
  const contents = ["1", "2", "3"].flatMap((n) => ["a", "b"].map((id) => [id, n]));
  await Promise.all(contents.map(([id, n]) => titlecast.recordMessage(id, n)));
  for (const id of ["a", "b"]) assert.deepEqual(stored.filter((text) => text[0] === id), [`${id}1`, `${id}2`, `${id}3`]);
});

test("what is no events passes", async () => {
  const items = [null, 5, "text", Buffer.from("data: {not json\n\n"), { choices: 7 }, { choices: [null] }, { type: "response.output_item.done" }];
  const passed = [];
  const titlecast = new Titlecast({ url: "http://127.0.0.1:9", patienceMs: 100 });
  for await (const item of titlecast.tee((async function* () { yield* items; })(), "a-thread")) passed.push(item);
  assert.deepEqual(passed, items);
});
