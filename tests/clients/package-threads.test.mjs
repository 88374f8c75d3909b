// `titlecastThreads` of the package: each call against a live server, and under assistant-ui's own runtime in React.

import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";

import { titlecastTransport } from "titlecast/ai";
import { titlecastThreads } from "titlecast/assistant-ui";

import { mount, React } from "./react.mjs";
import { Server, startModel, within } from "./support.mjs";

const { AssistantRuntimeProvider, useAui, useAuiState, useLocalRuntime, useRemoteThreadListRuntime } = await import("@assistant-ui/react");
const { useChatRuntime } = await import("@assistant-ui/react-ai-sdk");

let model, server, threads;
before(async () => {
  model = await startModel(0.005);
  server = await Server.start({ ...model.settings, TITLECAST_LOG: "off" });
  threads = titlecastThreads({ url: new URL(server.url).origin, pageSize: 2 });
});
after(async () => {
  await server.end();
  model.end();
});

async function send(id, text = "Hello in 3 words") {
  const query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { replyId } }";
  const body = JSON.stringify({ query, variables: { input: { conversationId: id, text } } });
  const response = await fetch(server.url, { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.equal((await response.json()).errors, undefined);
}
const started = async (options) => {
  const { remoteId } = await threads.initialize("__LOCALID_1", options);
  await send(remoteId);
  return remoteId;
};
const titleOf = async (id) => {
  let title = "";
  for await (const chunk of await threads.generateTitle(id)) if (chunk.type === "text-delta") title += chunk.textDelta;
  return title;
};

suite("each call", () => {
  test("initialize makes an id and asks nothing; draft metadata is stored with the title", async () => {
    const offline = titlecastThreads({ fetch: () => assert.fail("a request") });
    const { remoteId } = await offline.initialize("__LOCALID_1");
    assert.match(remoteId, /^[0-9a-f-]{36}$/);
    assert.deepEqual(await offline.initialize(remoteId), { remoteId, externalId: undefined });
    const id = await started({ custom: { colour: "red", size: 3 } });
    const title = await within(titleOf(id), "title");
    assert.match(title, /^Trees and Tools, Part \d+$/);
    const thread = await threads.fetch(id);
    assert.deepEqual({ ...thread, lastMessageAt: undefined }, {
      remoteId: id, externalId: undefined, status: "regular", title, custom: { colour: "red", size: "3" }, lastMessageAt: undefined,
    });
    assert.ok(thread.lastMessageAt instanceof Date);
    assert.equal(await within(titleOf(id), "the same title"), title, "no second title is made");
  });

  test("rename, updateCustom, archive, unarchive, delete", async () => {
    const id = await started();
    await threads.rename(id, "Another title");
    await threads.updateCustom(id, { colour: "blue", shape: "round" });
    await threads.updateCustom(id, { colour: "green" });
    await threads.archive(id);
    let thread = await threads.fetch(id);
    assert.deepEqual([thread.title, thread.status, thread.custom], ["Another title", "archived", { colour: "green" }]);
    await threads.unarchive(id);
    await threads.updateCustom(id, undefined);
    thread = await threads.fetch(id);
    assert.deepEqual([thread.status, thread.custom], ["regular", {}]);
    await threads.delete(id);
    await assert.rejects(threads.fetch(id), /there is no conversation/);
    await threads.delete(crypto.randomUUID());
    await assert.rejects(threads.rename(id, "Again"), { code: "NOT_FOUND" });
  });

  test("the list has each thread once, those of the archive too", async () => {
    const ids = [];
    for (let count = 0; count < 5; count++) ids.push(await started());
    for (const id of ids.slice(0, 3)) await threads.archive(id);
    const found = [];
    let pages = 0;
    for (let after; ; pages++) {
      const page = await threads.list(after && { after });
      found.push(...page.threads);
      if (!page.nextCursor) break;
      after = page.nextCursor;
    }
    assert.ok(pages > 0);
    const mine = found.filter(({ remoteId }) => ids.includes(remoteId));
    assert.equal(new Set(found.map(({ remoteId }) => remoteId)).size, found.length);
    assert.deepEqual(Object.fromEntries(mine.map(({ remoteId, status }) => [ids.indexOf(remoteId), status])), {
      0: "archived", 1: "archived", 2: "archived", 3: "regular", 4: "regular",
    });
  });

  test("without a title in time the stream ends without one, and it ends when it is left", async () => {
    const hasty = titlecastThreads({ url: new URL(server.url).origin, titleMs: 300 });
    const chunks = await within(all(await hasty.generateTitle(crypto.randomUUID())), "end");
    assert.deepEqual(chunks.map(({ type }) => type), ["message-finish"]);
    const stream = await threads.generateTitle(crypto.randomUUID());
    await within(stream.cancel(), "end");
  });
});

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

test("assistant-ui names, renames, archives, restores and deletes threads by it", async () => {
  const own = titlecastThreads({ url: new URL(server.url).origin });
  let remoteId;
  const chat = {
    async *run() {
      await send(remoteId, "Plan a trip to Kyoto in 3 words");
      yield { content: [{ type: "text", text: "An answer" }] };
    },
  };
  const adapter = { ...own, initialize: async (id, options) => {
    const made = await own.initialize(id, options);
    remoteId = made.remoteId;
    return made;
  } };
  const list = {};
  function Inside() {
    list.aui = useAui();
    list.items = useAuiState((state) => state.threads.threadItems);
    list.loading = useAuiState((state) => state.threads.isLoading);
    list.wake?.();
    return null;
  }
  const page = mount(() => null, () => {
    const runtime = useRemoteThreadListRuntime({ runtimeHook: () => useLocalRuntime(chat), adapter });
    return React.createElement(AssistantRuntimeProvider, { runtime }, React.createElement(Inside));
  });
  const item = (id) => list.items?.find((one) => one.remoteId === id);
  const until = (matches, what) => page.until(() => list.items && matches(), what);
  await until(() => list.loading === false, "list");
  list.aui.thread().append("Plan a trip to Kyoto");
  const id = await until(() => remoteId && item(remoteId)?.title && remoteId, "title");
  assert.match(item(id).title, /^Trees and Tools/);
  const thread = () => list.aui.threads().item({ id: item(id).id });
  await thread().rename("By hand");
  await until(() => item(id).title === "By hand", "other title");
  await thread().archive();
  assert.equal((await own.fetch(id)).status, "archived");
  await thread().unarchive();
  const stored = await own.fetch(id);
  assert.deepEqual([stored.status, stored.title], ["regular", "By hand"]);
  await thread().delete();
  await assert.rejects(own.fetch(id));
  page.unmount();
});

test("a chat of the AI SDK under assistant-ui: its thread is the conversation, with the server's title", async () => {
  const url = new URL(server.url).origin;
  const adapter = titlecastThreads({ url });
  const list = {};
  function Inside() {
    list.aui = useAui();
    list.items = useAuiState((state) => state.threads.threadItems);
    list.isLoading = useAuiState((state) => state.threads.isLoading);
    list.main = useAuiState((state) => state.threads.mainThreadId);
    list.messages = useAuiState((state) => state.thread.messages);
    list.isRunning = useAuiState((state) => state.thread.isRunning);
    return null;
  }
  function useThreadRuntime() {
    const aui = useAui();
    const conversation = async () => (await aui.threadListItem().initialize()).remoteId;
    const transport = React.useMemo(() => titlecastTransport({ url, conversation }), [aui]);
    return useChatRuntime({ transport });
  }
  const page = mount(() => null, () => {
    const runtime = useRemoteThreadListRuntime({ runtimeHook: useThreadRuntime, adapter });
    return React.createElement(AssistantRuntimeProvider, { runtime }, React.createElement(Inside));
  });
  await page.until(() => list.isLoading === false, "list");
  list.aui.thread().append("Plan a trip to Kyoto in 30 words");
  await page.until(() => list.messages?.length === 2 && !list.isRunning, "whole answer");
  const { remoteId, title } = await page.until(() => list.items.find(
    // Other tests' conversations are in the list too.
    (item) => item.id === list.main && item.title?.startsWith("Trees"),
  ), "title");
  const text = ({ content }) => content.map((part) => part.text ?? "").join("");
  const stored = await titlecastTransport({ url }).history(remoteId);
  assert.deepEqual(list.messages.map(text), stored.map(({ parts }) => parts.map((part) => part.text ?? "").join("")));
  assert.equal((await adapter.fetch(remoteId)).title, title);
  page.unmount();
});
