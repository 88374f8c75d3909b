// The real AG-UI client against the server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { HttpAgent } from "@ag-ui/client";

import { Server, within } from "./support.mjs";

let server;
before(async () => (server = await Server.start()));
after(() => server.end());

const agent = (threadId) => new HttpAgent({ url: new URL("/api/v1/agui", server.url).href, threadId });

const user = (id, content) => ({ id, role: "user", content });

/** Runs an agent; its events in order. */
async function run(one, options) {
  const events = [];
  const result = await within(one.runAgent(options, { onEvent: ({ event }) => void events.push(event) }), "end of the run");
  return { events, result };
}

test("a run answers the newest message, and names its conversation", async () => {
  const one = agent("thread 1");
  one.addMessage(user("u1", "Plan a trip to Kyoto in April"));
  const { events } = await run(one);
  const types = events.map((event) => event.type);
  assert.equal(types[0], "RUN_STARTED");
  assert.equal(types.at(-1), "RUN_FINISHED");
  const title = events.find((event) => event.type === "CUSTOM" && event.name === "conversation.title");
  assert.equal(title.value.titleStatus, "READY");
  assert.equal(one.messages.length, 2);
  const [, reply] = one.messages;
  assert.equal(reply.role, "assistant");

  one.addMessage(user("u2", [{ type: "text", text: "And what about May?" }]));
  await run(one);
  const response = await fetch(server.url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      query: `query ($id: ID!) { conversation(id: $id) { messages(first: 50) { nodes { content } } } }`,
      variables: { id: title.value.conversationId },
    }),
  });
  const { data } = await response.json();
  assert.deepEqual(
    data.conversation.messages.nodes.map((message) => message.content),
    ["Plan a trip to Kyoto in April", reply.content, "And what about May?", one.messages[3].content],
  );
});

test("a run that is sent again is the same run", async () => {
  const runId = "run-1";
  const first = agent("thread 2");
  first.addMessage(user("u1", "Plan a trip to Oslo"));
  await run(first, { runId });
  const again = agent("thread 2");
  again.addMessage(user("u1", "Plan a trip to Oslo"));
  await run(again, { runId });
  assert.equal(again.messages[1].id, first.messages[1].id);
});

test("bad input is refused before the run", async () => {
  const body = { threadId: "t", runId: "r", messages: [{ id: "a", role: "assistant", content: "Hi" }], state: null };
  const response = await fetch(new URL("/api/v1/agui", server.url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 400);
  assert.equal(await response.text(), "the newest message must be the user's");
});
