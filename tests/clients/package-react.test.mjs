// `useConversations` and `useReply` of the package, in React's strict mode, on a client of graphql-ws, against a live server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { createClient } from "graphql-ws";
import WebSocket from "ws";

import { mount } from "./react.mjs";
import { Server, startModel } from "./support.mjs";

const { useConversations, useReply } = await import("titlecast/react");

let model, server, client;
before(async () => {
  model = await startModel(0.01);
  server = await Server.start({ ...model.settings, TITLECAST_LOG: "off" });
  client = connect();
});
after(async () => {
  await client.dispose();
  await server.end();
  model.end();
});

const connect = () =>
  createClient({
    url: server.url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: Infinity, shouldRetry: () => true,
    retryWait: () => new Promise((resolve) => setTimeout(resolve, 50)),
  });

async function ask(query, variables) {
  const body = JSON.stringify({ query, variables });
  const response = await fetch(server.url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined);
  return data;
}
async function send(conversationId, text) {
  const mutation = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { replyId } }";
  return (await ask(mutation, { input: { conversationId, text } })).sendMessage;
}
/** Follows a reply to its end. */
async function answered({ replyId }) {
  const query = `subscription { reply(messageId: "${replyId}") { __typename } }`;
  for await (const { data } of client.iterate({ query })) if (data.reply.__typename === "ReplyEnded") return;
}
const remove = (id) => ask("mutation ($id: ID!) { deleteConversation(input: { id: $id }) { deletedConversationId } }", { id });
const rename = (id, displayName) =>
  ask("mutation ($input: RenameConversationInput!) { renameConversation(input: $input) { conversation { id } } }", { input: { id, displayName } });

test("a list keeps itself current, page by page, and through a restart of the server", async () => {
  const ids = Array.from({ length: 5 }, () => crypto.randomUUID());
  for (const id of ids) await answered(await send(id, "Hello in 3 words"));
  const page = mount(() => useConversations(client, { first: 2, fields: "displayName" }));
  const order = (now) => now.conversations.map(({ id }) => ids.indexOf(id)).join("");
  await page.until((now) => !now.isLoading && order(now) === "43" && now.hasMore, "first page");
  await page.now.loadMore();
  await page.until((now) => order(now) === "4321", "two pages");
  await page.until((now) => now.conversations.every(({ titleStatus }) => titleStatus === "READY"), "titles");
  await rename(ids[2], "Another title");
  await page.until((now) => now.conversations[2].displayName === "Another title", "title");
  await send(ids[0], "And now in 3 words");
  await page.until((now) => order(now) === "04321", "the last one at the front");
  await remove(ids[3]);
  await page.until((now) => order(now) === "0421", "four");
  await server.restart();
  await rename(ids[4], "After the restart");
  await page.until((now) => now.conversations[1].title === "After the restart" && !now.isLoading, "title after the restart");
  assert.equal(page.now.error, undefined);
  page.unmount();
});

test("what changed while there was no connection is there after it", async () => {
  const id = crypto.randomUUID();
  await answered(await send(id, "Hello in 3 words"));
  const sockets = [];
  const own = createClient({
    url: server.url.replace("http", "ws"), retryAttempts: Infinity, shouldRetry: () => true, retryWait: () => renamed,
    webSocketImpl: class extends WebSocket {
      constructor(...args) {
        super(...args);
        sockets.push(this);
      }
    },
  });
  let goOn;
  const renamed = new Promise((resolve) => (goOn = resolve));
  const page = mount(() => useConversations(own, { first: 5 }));
  const isAtRest = (one) => one?.id === id && one.titleStatus === "READY" && one.messageCount === 2;
  await page.until((now) => !now.isLoading && isAtRest(now.conversations[0]), "list");
  sockets.at(-1).terminate();
  await rename(id, "Meanwhile");
  goOn();
  await page.until((now) => now.conversations[0].title === "Meanwhile", "title");
  page.unmount();
  await own.dispose();
});

test("a list of its own order and filter", async () => {
  const [first, second] = [crypto.randomUUID(), crypto.randomUUID()];
  const change = (name, conversationId) =>
    ask(`mutation ($id: ID!) { ${name}(input: { conversationId: $id }) { conversation { id } } }`, { id: conversationId });
  const pinned = mount(() => useConversations(client, { order: "PINNED_FIRST" }));
  const archived = mount(() => useConversations(client, { filter: { archived: true } }));
  for (const id of [first, second]) await answered(await send(id, "Hello in 3 words"));
  await pinned.until((now) => now.conversations[0]?.id === second, "the newest one first");
  await change("pinConversation", first);
  await pinned.until((now) => now.conversations[0].id === first, "the pinned one first");
  await change("unpinConversation", first);
  await pinned.until((now) => now.conversations[0].id === second, "the newest one first again");
  await change("archiveConversation", second);
  await pinned.until((now) => now.conversations.every(({ id }) => id !== second), "without the archived one");
  await archived.until((now) => now.conversations.some(({ id }) => id === second), "the archived one");
  await pinned.now.refetch();
  await pinned.until((now) => !now.isLoading && now.conversations[0].id === first, "without the archived one, asked again");
  pinned.unmount();
  archived.unmount();
});

test("an error that does not pass is shown", async () => {
  const page = mount(() => useConversations(client, { fields: "colour" }));
  const error = await page.until((now) => !now.isLoading && now.error, "error");
  assert.equal(error.code, "GRAPHQL_VALIDATION_FAILED");
  page.unmount();
});

test("a reply is there as it is written, and stops", async () => {
  const id = crypto.randomUUID();
  const { replyId } = await send(id, "How do I prune an apple tree in 300 words");
  const idle = mount(() => useReply(client));
  await idle.until((now) => now.status === "idle", "nothing to follow");
  idle.unmount();
  const page = mount(() => useReply(client, { conversationId: id }));
  await page.until((now) => now.status === "writing" && now.text.split(" ").length > 5, "text");
  assert.equal(page.now.messageId, replyId);
  await server.restart("SIGKILL");
  const { text } = await page.until((now) => now.status === "writing" && now.text && now, "text after a restart");
  assert.ok(text.length > 0);
  const other = await send(id, "And a pear tree in 300 words");
  const second = mount(() => useReply(client, { messageId: other.replyId }));
  await second.until((now) => now.text.split(" ").length > 3, "text");
  assert.equal(await second.now.stop(), true);
  const ended = await second.until((now) => now.status === "ended" && now, "end");
  assert.deepEqual([ended.outcome, ended.reason, ended.error], ["INCOMPLETE", "STOPPED", undefined]);
  page.unmount();
  second.unmount();
  const later = mount(() => useReply(client, { messageId: other.replyId }));
  await later.until((now) => now.status === "ended" && now.text === ended.text, "the stored reply");
  later.unmount();
  const messageId = crypto.randomUUID();
  const unknown = mount(() => useReply(client, { messageId }));
  assert.equal((await unknown.until((now) => now.error, "error")).code, "NOT_FOUND");
  unknown.unmount();
});
