// Streams of random turns over all wires (tests/wires/run --samples), judged by the clients themselves: the AI SDK, versions 5 to 7, and
// AG-UI. What they make of a stream is what is stored.

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import http from "node:http";
import { test } from "node:test";

import { HttpAgent } from "@ag-ui/client";
import * as ai5 from "ai5";
import * as ai6 from "ai6";
import * as ai7 from "ai7";

import { within } from "./support.mjs";

const FILE = process.env.WIRES_SAMPLES;
const samples = FILE && existsSync(FILE) ? readFileSync(FILE, "utf8").trim().split("\n").map((line) => JSON.parse(line)) : [];
const of = (wire) => samples.filter((sample) => sample.wire === wire);
const skip = FILE ? false : "WIRES_SAMPLES names no file";

for (const [name, { DefaultChatTransport, readUIMessageStream }] of Object.entries({ ai5, ai6, ai7 })) {
  test(`${name} makes of each stream what is stored`, { skip }, async () => {
    assert.ok(of("ui").length, "samples of this wire");
    for (const { body, text, outcome, tools } of of("ui")) {
      const transport = new DefaultChatTransport({ fetch: async () => new Response(body) });
      const stream = await transport.sendMessages({ chatId: "1", messages: [], trigger: "submit-message" });
      const errors = [];
      let last;
      for await (const message of readUIMessageStream({ stream, onError: (error) => errors.push(error) })) last = message;
      const parts = (type) => last.parts.filter((part) => part.type === type);
      assert.equal(parts("text").map((part) => part.text).join(""), text);
      assert.equal(last.metadata.outcome, outcome);
      assert.deepEqual(parts("dynamic-tool").map((part) => part.toolName), tools);
      assert.equal(errors.length, outcome === "failed" ? 1 : 0, String(errors));
    }
  });
}

test("AG-UI's client makes of each stream what is stored", { skip }, async () => {
  assert.ok(of("agui").length, "samples of this wire");
  let body;
  const server = http.createServer((_, response) => response.writeHead(200, { "content-type": "text/event-stream" }).end(body));
  await once(server.listen(0, "127.0.0.1"), "listening");
  for (const sample of of("agui")) {
    body = sample.body;
    const agent = new HttpAgent({ url: `http://127.0.0.1:${server.address().port}/` });
    agent.addMessage({ id: "u", role: "user", content: "Hi" });
    const types = [];
    const running = agent.runAgent({}, { onEvent: ({ event }) => void types.push(event.type) });
    const error = await within(running, "end of the run").then(() => null, (error) => error);
    const replies = agent.messages.filter((message) => message.role === "assistant");
    assert.equal(replies.map((message) => message.content ?? "").join(""), sample.text);
    const calls = replies.flatMap((message) => message.toolCalls ?? []);
    assert.deepEqual(calls.map((call) => call.function.name), sample.tools);
    const isFinished = sample.outcome === "completed" || sample.outcome === "stopped";
    assert.equal(types.at(-1), isFinished ? "RUN_FINISHED" : "RUN_ERROR", String(error));
  }
  server.close();
});
