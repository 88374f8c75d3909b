// Stored messages have the ids and errors that their streams had.
import assert from "node:assert/strict";
import test from "node:test";

import { chunksOf, toUIMessage } from "../src/ui-messages.js";

test("calls with empty or equal ids have ids of their own, and an error has no quotes", () => {
  const tool = (callId) => ({ __typename: "ToolPart", callId, name: "n", arguments: "", result: '"no deer"', state: "FAILED" });
  const given = ["", "c", "", "c", "r-call-5", "", "d"];
  const message = { id: "r", role: "ASSISTANT", content: "", parts: given.map(tool) };
  const { parts } = toUIMessage(message);
  const expected = ["r-call-0", "c", "r-call-2", "r-call-3", "r-call-5", "r-call-5-", "d"];
  assert.deepEqual(parts.map(({ toolCallId }) => toolCallId), expected);
  assert.ok(parts.every(({ errorText }) => errorText === "no deer"));
  const inputs = [...chunksOf(message)].filter(({ type }) => type === "tool-input-available");
  assert.deepEqual(inputs.map(({ toolCallId }) => toolCallId), expected);
});
