// Random turns, judged by the AI SDK itself, versions 5 to 7: its schema takes each frame, and its reader makes of them the message
// that is stored.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import * as ai5 from "ai5";
import * as ai6 from "ai6";
import * as ai7 from "ai7";
import { Titlecast } from "titlecast";

import { Server, startModel, within } from "./support.mjs";

const TURNS = Number(process.env.TURNS ?? 60);
const ATONCE = 6;
const MESSAGE = `query ($id: ID!) { node(id: $id) { ... on Message { content outcome parts { __typename ... on TextPart { text }
  ... on ToolPart { callId name state } ... on DataPart { name } } } } }`;

let model, server, titlecast, api;
before(async () => {
  model = await startModel(0.001);
  server = await Server.start({ ...model.settings, TITLECAST_LOG: "off" });
  api = new URL("/api/v1/ui/chat", server.url).href;
  titlecast = new Titlecast({ url: new URL(server.url).origin });
});
after(async () => {
  await titlecast.close();
  await server.end();
  model.end();
});

/** Numbers that are the same in each run of a seed. */
function random(seed) {
  let state = seed + 1;
  return (below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
}

/** A reply of the model, of some words or of none, maybe broken off or stopped. */
async function modelled(draw, id) {
  const isStopped = draw(4) === 0;
  const text = isStopped ? "Random turn in 400 words" : `Random turn in ${draw(40)} words${draw(4) ? "" : " then break"}`;
  const message = { id: "m", role: "user", parts: [{ type: "text", text }] };
  const body = JSON.stringify({ id, messages: [message], trigger: "submit-message" });
  const response = await fetch(api, { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.equal(response.status, 200);
  if (isStopped) await fetch(`${api}/${id}/stop`, { method: "POST" });
  return response;
}

/** A reply that a program writes: text, reasoning, tool calls with and without results, data. */
async function recorded(draw, id) {
  await titlecast.recordMessage(id, "A question to a program");
  const reply = titlecast.reply(id);
  reply.text("It begins. ");
  let response;
  for (const end = Date.now() + 10_000; response?.status !== 200; ) {
    assert.ok(Date.now() < end, "the reply can be followed");
    response = await fetch(`${api}/${id}/stream`);
  }
  for (let step = draw(12); step > 0; step--) {
    const call = { type: "tool", id: `call ${draw(3)}`, name: "weather", arguments: '{"city":"Kyoto"}' };
    [
      () => reply.text("Deer – 鹿 🦌 – bow. "),
      () => reply.part({ type: "reasoning", text: "Hm, deer. " }),
      () => reply.part(call),
      () => reply.part({ ...call, result: { sky: "clear" } }),
      () => reply.part({ ...call, result: "no such city", state: "failed" }),
      () => reply.part({ type: "data", name: "place", data: { step, name: "Nara" } }),
    ][draw(6)]();
    if (draw(3) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  reply.finish(["completed", "completed", "incomplete", "failed"][draw(4)]);
  await within(reply.ended, "end of the reply");
  return response;
}

/** What a version makes of a stream. Its own transport validates each frame, in 5.0.0 against a schema that takes no other keys. */
async function judge({ DefaultChatTransport, readUIMessageStream }, body) {
  const fetch = async () => new Response(body);
  const transport = new DefaultChatTransport({ fetch });
  const stream = await transport.sendMessages({ chatId: "1", messages: [], trigger: "submit-message" });
  let last;
  const errors = [];
  for await (const message of readUIMessageStream({ stream, onError: (error) => errors.push(error) })) last = message;
  return { last, errors };
}

async function turn(seed) {
  const draw = random(seed);
  const id = crypto.randomUUID();
  const response = await (draw(2) ? modelled : recorded)(draw, id);
  const body = await within(response.text(), "end of the stream", 20_000);
  const events = body.split("\n\n").filter((event) => event && !event.startsWith(":"));
  assert.equal(events.pop(), "data: [DONE]");
  const { messageId } = JSON.parse(events[0].slice("data: ".length));
  const query = { query: MESSAGE, variables: { id: messageId } };
  const headers = { "content-type": "application/json" };
  const asked = await fetch(server.url, { method: "POST", headers, body: JSON.stringify(query) });
  const { node } = (await asked.json()).data;
  for (const [name, ai] of Object.entries({ ai5, ai6, ai7 })) {
    const { last, errors } = await judge(ai, body);
    const of = (type) => last.parts.filter((part) => part.type === type);
    assert.equal(of("text").map(({ text }) => text).join(""), node.content, `${name}: the text`);
    assert.equal(last.metadata.outcome, node.outcome.toLowerCase(), `${name}: the outcome`);
    assert.equal(errors.length, node.outcome === "FAILED" ? 1 : 0, `${name}: ${errors}`);
    const stored = node.parts.filter((part) => part.__typename === "ToolPart");
    const states = { CALLED: "input-available", COMPLETED: "output-available", FAILED: "output-error" };
    assert.deepEqual(
      of("dynamic-tool").map(({ toolCallId, state }) => [toolCallId, state]),
      stored.map(({ callId, state }) => [callId, states[state]]),
      `${name}: the tool calls`,
    );
    assert.equal(of("data-place").length, node.parts.filter((part) => part.__typename === "DataPart").length, `${name}: the data`);
  }
  return node.outcome;
}

test(`${TURNS} random turns are taken by the schemas of the SDK, and are what is stored`, async () => {
  const outcomes = {};
  const first = Number(process.env.SEED ?? Date.now() % 1_000_000);
  const seeds = Array.from({ length: TURNS }, (_, index) => first + index);
  const work = async () => {
    for (let seed; (seed = seeds.pop()) !== undefined; ) {
      const outcome = await turn(seed).catch((error) => {
        error.message = `SEED=${seed} TURNS=1: ${error.message}`;
        throw error;
      });
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: ATONCE }, work));
  if (TURNS >= 60) assert.equal(Object.keys(outcomes).length, 4, JSON.stringify(outcomes));
});
