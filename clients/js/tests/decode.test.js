// The three streams that programs have in their hands, as raw bytes cut anywhere and as objects.
import assert from "node:assert/strict";
import test, { after, before } from "node:test";

import { Decoder } from "../src/decode.js";
import { chat, startModel } from "./support.js";

const PROMPT = "Tell me of trees in 30 words";
let model;
before(async () => (model = await startModel(0)));
after(() => model.end());

const events = (items) => {
  const decoder = new Decoder();
  return { found: items.flatMap((item) => decoder.feed(item)), decoder };
};
const text = (found) => found.filter(({ type }) => type === "text").map(({ text }) => text).join("");

test("Chat Completions, cut anywhere", async () => {
  const bytes = new Uint8Array(await (await chat(model, PROMPT)).arrayBuffer());
  const expected = text(events([bytes]).found);
  assert.equal(expected.trim().split(" ").length, 30);
  for (const size of [1, 7, 100]) {
    const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) => bytes.subarray(n * size, (n + 1) * size));
    const { found, decoder } = events(parts);
    assert.equal(text(found), expected);
    assert.equal(decoder.outcome, "completed");
    assert.deepEqual(decoder.usage, { prompt_tokens: 9, completion_tokens: 30 });
    assert.equal(decoder.model, "scripted");
  }
});

test("a model whose name the server would refuse is not named", () => {
  for (const model of ["", "a\u0000", "\ud800", "x".repeat(256), 7, null]) {
    const { found, decoder } = events([{ model, choices: [{ delta: { content: "A" } }] }]);
    assert.deepEqual([text(found), decoder.model], ["A", undefined]);
  }
});

test("a tool call comes whole", async () => {
  const response = await chat(model, PROMPT, { tools: [{ type: "function", function: { name: "weather" } }] });
  const { found } = events([await response.text()]);
  assert.deepEqual(found, [{ type: "tool", id: "call_1", name: "weather", arguments: '{"city": "Kyoto"}' }]);
});

test("an error in mid-stream is a failure, and no text", () => {
  const word = { choices: [{ delta: { content: "A" } }] };
  for (const error of [{ error: { message: "overloaded" } }, { type: "error", message: "overloaded" }]) {
    const bytes = [word, error].map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
    for (const items of [[word, error], [`${bytes}data: [DONE]\n\n`]]) {
      const { found, decoder } = events(items);
      assert.deepEqual([text(found), decoder.outcome], ["A", "failed"]);
    }
  }
});

test("a UI message stream that was cut by its model is incomplete", () => {
  for (const [finishReason, outcome] of [["stop", "completed"], [undefined, "completed"], ["tool-calls", "completed"], ["length", "incomplete"],
    ["other", "incomplete"], ["unknown", "incomplete"], ["error", "failed"]]) {
    assert.equal(events([{ type: "finish", finishReason }]).decoder.outcome, outcome);
  }
});

test("the AI SDK's fullStream", () => {
  const tool = { toolCallId: "c", toolName: "weather", input: { city: "Kyoto" } };
  const { found, decoder } = events([
    { type: "start" },
    { type: "reasoning-delta", id: "0", text: "Hm" },
    { type: "tool-call", ...tool },
    { type: "tool-result", ...tool, output: "clear" },
    { type: "tool-error", ...tool, error: new Error("no weather") },
    { type: "text-delta", id: "1", text: "Clear." },
    { type: "finish", finishReason: "stop", totalUsage: { inputTokens: 3, outputTokens: 2 } },
  ]);
  assert.deepEqual(found, [
    { type: "reasoning", text: "Hm" },
    { type: "tool", id: "c", name: "weather", arguments: '{"city":"Kyoto"}' },
    { type: "tool", id: "c", result: "clear", state: "completed" },
    { type: "tool", id: "c", result: "Error: no weather", state: "failed" },
    { type: "text", text: "Clear." },
  ]);
  assert.deepEqual([decoder.outcome, decoder.usage], ["completed", { prompt_tokens: 3, completion_tokens: 2 }]);
});

test("what repeats the whole text at the end does not double it", () => {
  const item = { type: "message", id: "m", content: [{ type: "output_text", text: "A" }] };
  for (const items of [
    [{ choices: [{ delta: { content: "A" } }] }, { choices: [{ message: { content: "A" }, finish_reason: "stop" }] }],
    [{ type: "response.output_text.delta", delta: "A" }, { type: "response.output_text.done", text: "A" },
      { type: "response.output_item.done", item }, { type: "response.completed", response: { output: [item] } }],
  ]) {
    const { found, decoder } = events(items);
    assert.deepEqual([text(found), decoder.outcome], ["A", "completed"]);
  }
});

test("Responses", () => {
  const { found, decoder } = events([
    { type: "response.created", response: { model: "gpt-5-mini" } },
    { type: "response.output_text.delta", delta: "Late " },
    { type: "response.output_text.delta", delta: "winter" },
    { type: "response.output_item.done", item: { type: "function_call", call_id: "c", name: "n", arguments: "{}" } },
    { type: "response.incomplete", response: { usage: { input_tokens: 3, output_tokens: 2 } } },
  ]);
  assert.equal(text(found), "Late winter");
  assert.deepEqual(found.at(-1), { type: "tool", id: "c", name: "n", arguments: "{}" });
  assert.deepEqual([decoder.outcome, decoder.model], ["incomplete", "gpt-5-mini"]);
  assert.deepEqual(decoder.usage, { prompt_tokens: 3, completion_tokens: 2 });
});

test("the AI SDK's UI message stream", () => {
  const { found, decoder } = events([
    { type: "start" },
    { type: "text-start", id: "1" },
    { type: "text-delta", id: "1", delta: "Late " },
    { type: "text-delta", id: "1", delta: "winter" },
    { type: "tool-input-available", toolCallId: "c", toolName: "n", input: { a: 1 } },
    { type: "tool-output-available", toolCallId: "c", output: 2 },
    { type: "data-weather", data: { c: 7 } },
    { type: "finish" },
  ]);
  assert.equal(text(found), "Late winter");
  assert.deepEqual(found.slice(2), [
    { type: "tool", id: "c", name: "n", arguments: '{"a":1}' },
    { type: "tool", id: "c", result: 2, state: "completed" },
    { type: "data", name: "weather", data: { c: 7 } },
  ]);
  assert.equal(decoder.outcome, "completed");
});
