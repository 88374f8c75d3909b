// What passes of the streams of one reply: all of the first, and of the later ones what is new.
import assert from "node:assert/strict";
import test from "node:test";

import { Replay } from "../src/replay.js";
import { chunksOf } from "../src/ui-messages.js";

const start = { type: "start", messageId: "r" };
const data = (name, id, value) => ({ type: `data-${name}`, id, data: value });
const output = (toolCallId, value) => ({ type: "tool-output-available", toolCallId, output: value });
const input = { type: "tool-input-available", toolCallId: "t", input: {} };
const delta = (id, text) => ({ type: "text-delta", id, delta: text });
const passing = (replay, chunks) => chunks.flatMap((chunk) => replay.pass(chunk));

test("of a stream without a cut everything passes, also what has the same content", () => {
  const chunks = [
    start, data("state", "s", "busy"), data("state", "s", "idle"), data("state", "s", "busy"), data("row", "a", 1), data("row", "b", 1),
    data("row", "part-5", 1), data("row", "part-6", 1), input, output("t", "10 %"), output("t", "10 %"), output("t", "100 %"),
  ];
  assert.deepEqual(passing(new Replay(), chunks), chunks);
});

test("of a replay the present states pass that the reader does not have", () => {
  const replay = new Replay();
  passing(replay, [start, input, output("t", "10 %"), data("state", "s", "busy"), data("state", "s", "idle"), data("row", "a", 1)]);
  assert.deepEqual(passing(replay, [start, input, output("t", "10 %"), data("state", "s", "idle"), data("row", "a", 1)]), []);
  const changed = [output("t", "100 %"), data("state", "s", "busy"), data("row", "b", 1)];
  const again = [start, input, changed[0], changed[1], data("row", "a", 1), changed[2]];
  assert.deepEqual(passing(replay, again), changed);
  const failed = { type: "tool-output-error", toolCallId: "t", errorText: "100 %" };
  assert.deepEqual(passing(replay, [start, input, failed]), [failed]);
});

test("data without an id is known by its place in what is stored", () => {
  const replay = new Replay();
  // Part 0 is reasoning, which is not stored.
  passing(replay, [start, data("note", "part-1", "a"), data("job", "j", "loading"), data("note", "part-3", "a")]);
  const part = (name, dataId, value) => ({ __typename: "DataPart", name, dataId, json: JSON.stringify(value) });
  const parts = [part("note", null, "a"), part("job", "j", "success"), part("note", null, "a"), part("note", null, "a")];
  const found = passing(replay, [...chunksOf({ id: "r", role: "ASSISTANT", content: "", outcome: "COMPLETED", parts })]);
  const passed = found.filter(({ type }) => type.startsWith("data-"));
  assert.deepEqual(passed, [data("job", "j", "success"), data("note", "stored-3", "a")]);
});

test("a block that a stream ended before its reply goes on in the next one", () => {
  const replay = new Replay();
  const end = { type: "text-end", id: "text-0" };
  const passed = passing(replay, [start, delta("text-0", "It "), end, start, delta("text-0", "It "), delta("text-0", "goes on"), end, input]);
  assert.deepEqual(passed.slice(1), [
    { type: "text-start", id: "text-0" }, delta("text-0", "It "), delta("text-0", "goes on"), end, input,
  ]);
});
