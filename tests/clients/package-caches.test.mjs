// `applyConversationUpdate` and `newestConversations` of the package, with the caches of Apollo Client 3 and 4 and of urql: lists that
// conversations join, leave and move in, older revisions, deletions; and against a live server.

import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";

import * as apollo4 from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { Client, fetchExchange, gql, mapExchange, subscriptionExchange } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import apollo3 from "apollo3/core/core.cjs";
import { createClient } from "graphql-ws";
import { map } from "rxjs";
import { applyConversationUpdate, newestConversations } from "titlecast/apollo";
import * as urql from "titlecast/urql";
import WebSocket from "ws";

import { Events, Server } from "./support.mjs";

const FIELDS = "__typename id title status revision lastMessageAt createdAt archivedAt pinnedAt";
const LIST = (args, more = "") => gql(`query List { conversations${args} {
  __typename nodes { ${FIELDS} } edges { __typename cursor node { ${FIELDS} } } pageInfo { __typename hasNextPage } ${more} } }`);
const NODES = (args) => gql(`query List { conversations${args} { __typename nodes { ${FIELDS} } pageInfo { __typename hasNextPage } } }`);
const one = (id, revision, minute, more) => ({
  __typename: "Conversation", id, revision, title: `${id} at ${revision}`, status: "ACTIVE",
  archivedAt: null, pinnedAt: null, createdAt: "2026-01-01T00:00:00Z",
  lastMessageAt: new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString(), ...more,
});
const connection = (nodes, hasNextPage = false) => ({
  __typename: "ConversationConnection", nodes,
  edges: nodes.map((node) => ({ __typename: "ConversationEdge", cursor: node.id, node })),
  pageInfo: { __typename: "PageInfo", hasNextPage },
});
const [A, B, C] = [one("a", 5, 30), one("b", 5, 20), one("c", 5, 10)];
const update = (conversation) => ({ conversationUpdated: conversation });

/** A cache with lists, whatever its library: `write(args, nodes, hasMore)`, `ids(args)`, `titles(args)`, `update(data)`. */
function apollo({ InMemoryCache }, options) {
  const cache = new InMemoryCache(options);
  const read = (args) => cache.readQuery({ query: LIST(args) })?.conversations;
  return {
    write: (args, nodes, hasMore) => cache.writeQuery({ query: LIST(args), data: { conversations: connection(nodes, hasMore) } }),
    nodes(args) {
      const list = read(args);
      assert.deepEqual(list?.edges.map(({ node }) => node.id), list?.nodes.map(({ id }) => id));
      return list?.nodes;
    },
    update: (conversation) => applyConversationUpdate(cache, update(conversation)),
    has: (id) => Boolean(cache.extract()[`Conversation:${id}`]),
  };
}

/** A client of urql that a test answers. */
function graphcache() {
  const answers = [];
  let sink;
  const fetch = async () => new Response(JSON.stringify({ data: answers.shift() }), { headers: { "content-type": "application/json" } });
  const outcomes = [];
  const conversationUpdated = (data, _args, cache) => void outcomes.push(urql.applyConversationUpdate(cache, data));
  const forwardSubscription = () => ({ subscribe: (to) => ((sink = to), { unsubscribe() {} }) });
  const client = new Client({
    url: "http://127.0.0.1/graphql", fetch, preferGetMethod: false,
    exchanges: [
      cacheExchange({ updates: { Subscription: { conversationUpdated } }, keys: { ConversationConnection: () => null, PageInfo: () => null } }),
      fetchExchange,
      subscriptionExchange({ forwardSubscription }),
    ],
  });
  client.subscription(gql(`subscription { conversationUpdated { ${FIELDS} } }`), {}).subscribe(() => {});
  return {
    async write(args, nodes, hasMore) {
      const { edges, ...list } = connection(nodes, hasMore);
      answers.push({ conversations: list });
      await client.query(NODES(args), {}, { requestPolicy: "network-only" }).toPromise();
    },
    nodes: (args) => client.readQuery(NODES(args), {})?.data.conversations.nodes,
    update(conversation) {
      sink.next({ data: update(conversation) });
      return outcomes.pop();
    },
    has: (id) => Boolean(client.readQuery(gql(`query { conversation(id: "${id}") { id } }`), {})),
  };
}

const keyArgs = { typePolicies: { Query: { fields: { conversations: { keyArgs: ["filter", "order"] } } } } };
const caches = {
  "Apollo 4": () => apollo(apollo4), "Apollo 3": () => apollo(apollo3),
  "Apollo 4 with keyArgs": () => apollo(apollo4, keyArgs), "urql": graphcache,
};
for (const [name, create] of Object.entries(caches)) {
  suite(name, () => {
    const FIRST = "(first: 3)";
    const ids = (cache, args = FIRST) => cache.nodes(args)?.map(({ id }) => id).join("");

    test("a conversation moves, joins and leaves", async () => {
      const cache = create();
      await cache.write(FIRST, [A, B, C]);
      assert.equal(cache.update(one("c", 6, 40)), true);
      assert.equal(ids(cache), "cab");
      assert.equal(cache.nodes(FIRST)[0].title, "c at 6");
      cache.update(one("d", 1, 25));
      assert.equal(ids(cache), "cadb");
      cache.update(one("b", 6, 20));
      assert.equal(ids(cache), "cadb", "another title moves nothing");
      cache.update(one("a", 6, 30, { archivedAt: "2026-01-02T00:00:00Z" }));
      assert.equal(ids(cache), "cdb");
      cache.update(one("a", 7, 30));
      assert.equal(ids(cache), "cadb");
      cache.update(one("d", 2, 25, { status: "DELETED" }));
      assert.equal(ids(cache), "cab");
    });

    test("an older revision changes nothing, and none comes after a deletion", async () => {
      const cache = create();
      await cache.write(FIRST, [A, B]);
      cache.update(one("b", 7, 40));
      assert.equal(cache.update(one("b", 6, 50)), false);
      assert.equal(ids(cache), "ba");
      assert.equal(cache.nodes(FIRST)[0].title, "b at 7");
      cache.update(one("b", 8, 40, { status: "DELETED" }));
      assert.equal(cache.update(one("b", 7, 40)), false);
      assert.equal(ids(cache), "a");
      assert.equal(cache.has("b"), false);
    });

    test("lists of other orders, and of pinned conversations", async () => {
      const cache = create();
      const list = (args) => `(first: 3, ${args})`;
      const [pinned, created, only] = [list("order: PINNED_FIRST"), list("order: CREATED_DESC"), list("filter: { pinned: true }")];
      const at = "2026-01-02T00:00:00Z";
      for (const args of [pinned, created]) await cache.write(args, [A, B, C]);
      await cache.write(only, []);
      cache.update(one("c", 6, 10, { pinnedAt: at }));
      assert.deepEqual([ids(cache, pinned), ids(cache, created), ids(cache, only)], ["cab", "abc", "c"]);
      cache.update(one("b", 6, 50));
      assert.equal(ids(cache, pinned), "cba");
      cache.update(one("d", 1, 60, { createdAt: at }));
      assert.deepEqual([ids(cache, pinned), ids(cache, created)], ["cdba", "dabc"]);
      cache.update(one("c", 7, 10));
      assert.deepEqual([ids(cache, pinned), ids(cache, only)], ["dbac", ""]);
    });

    test("lists by archive, and pages", async () => {
      const cache = create();
      const archived = "(first: 3, filter: { archived: true })";
      await cache.write(FIRST, [A, B], true);
      await cache.write(archived, []);
      cache.update(one("z", 1, 5));
      assert.equal(ids(cache), "ab", "it is of a later page");
      cache.update(one("b", 6, 20, { archivedAt: "2026-01-02T00:00:00Z" }));
      assert.deepEqual([ids(cache), ids(cache, archived)], ["a", "b"]);
      cache.update(one("b", 7, 50));
      assert.deepEqual([ids(cache), ids(cache, archived)], ["ba", ""]);
      if (name.includes("keyArgs")) return; // one list, of all pages
      const later = '(first: 3, after: "b")';
      await cache.write(later, [C]);
      cache.update(one("c", 6, 60));
      assert.deepEqual([ids(cache), ids(cache, later)], ["cba", ""]);
    });
  });
}

test("urql: a list of edges is read again when a conversation joins it", async () => {
  let asked = 0;
  const lists = [[A], [one("d", 1, 40), A]];
  const fetch = async () =>
    new Response(JSON.stringify({ data: { conversations: connection(lists[asked++]) } }), { headers: { "content-type": "application/json" } });
  let sink;
  const forwardSubscription = () => ({ subscribe: (to) => ((sink = to), { unsubscribe() {} }) });
  const conversationUpdated = (data, _args, cache) => void urql.applyConversationUpdate(cache, data);
  const client = new Client({
    url: "http://127.0.0.1/graphql", fetch, preferGetMethod: false,
    exchanges: [
      cacheExchange({ updates: { Subscription: { conversationUpdated } } }), fetchExchange, subscriptionExchange({ forwardSubscription }),
    ],
  });
  const seen = new Events();
  client.query(LIST("(first: 3)"), {}).subscribe(seen.next);
  await seen.until(({ data }) => data?.conversations.edges.length === 1, "list");
  client.subscription(gql(`subscription { conversationUpdated { ${FIELDS} } }`), {}).subscribe(() => {});
  await new Promise(setImmediate);
  sink.next({ data: update(one("d", 1, 40)) });
  await seen.until(({ data }) => data?.conversations.edges.length === 2, "list again");
  assert.equal(asked, 2);
});

test("results are brought up to the newest revision that was seen", () => {
  const newest = newestConversations({ limit: 2 });
  const result = { data: { conversations: { nodes: [A, B] } }, other: 1 };
  assert.deepEqual(newest(result), result);
  newest({ data: update(one("a", 7, 50)) });
  const { nodes } = newest({ data: { conversations: { nodes: [{ id: "a", revision: 6, title: "old" }, B] } } }).data.conversations;
  assert.deepEqual(nodes, [{ id: "a", revision: 7, title: "a at 7" }, B]);
  assert.deepEqual(newest({ data: null, errors: [1] }), { data: null, errors: [1] });
  assert.equal(newest({ data: update(one("a", 8, 50)) }).data.conversationUpdated.revision, 8);
});

suite("against a live server", () => {
  let server, socket;
  before(async () => {
    server = await Server.start();
    socket = createClient({ url: server.url.replace("http", "ws"), webSocketImpl: WebSocket });
  });
  after(async () => {
    await socket.dispose();
    await server.end();
  });
  const LIVE = "__typename id title titleStatus status revision lastMessageAt";
  const WATCH = gql(`subscription Watch { conversationUpdated { ${LIVE} } }`);
  const LIST = gql(`query List { conversations(first: 20) { __typename nodes { ${LIVE} } } }`);
  const SEND = gql(`mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }`);
  const DELETE = gql(`mutation Delete($id: ID!) { deleteConversation(input: { id: $id }) { deletedConversationId } }`);
  const send = (id, text) => ({ input: { conversationId: id, text } });

  async function follow({ watch, mutate }) {
    const lists = new Events();
    watch(lists.next);
    const [first, second] = [crypto.randomUUID(), crypto.randomUUID()];
    const list = (nodes) => nodes.map(({ id }) => (id === first ? "first" : id === second ? "second" : "")).filter(Boolean).join(" ");
    await lists.until((nodes) => nodes, "list");
    await mutate(SEND, send(first, "Plan a trip to Kyoto in April"));
    await mutate(SEND, send(second, "Plan a trip to Oslo in May"));
    await lists.until((nodes) => list(nodes) === "second first", "both");
    await lists.until((nodes) => nodes.every(({ titleStatus }) => titleStatus === "READY"), "titles");
    await mutate(SEND, send(first, "And what about June?"));
    await lists.until((nodes) => list(nodes) === "first second", "the other order");
    await mutate(DELETE, { id: second });
    await lists.until((nodes) => list(nodes) === "first", "one");
  }

  test("Apollo", async () => {
    const cache = new apollo4.InMemoryCache();
    const newest = new apollo4.ApolloLink((operation, forward) => forward(operation).pipe(map(newestConversations())));
    const client = new apollo4.ApolloClient({ cache, link: newest.concat(new GraphQLWsLink(socket)) });
    client.subscribe({ query: WATCH, fetchPolicy: "no-cache" }).subscribe(({ data }) => applyConversationUpdate(cache, data));
    await follow({
      watch: (next) =>
        client.watchQuery({ query: LIST }).subscribe(({ data, dataState }) => dataState === "complete" && next(data.conversations.nodes)),
      mutate: (mutation, variables) => client.mutate({ mutation, variables, fetchPolicy: "no-cache" }),
    });
    client.stop();
  });

  test("urql", async () => {
    const conversationUpdated = (data, _args, cache) => void urql.applyConversationUpdate(cache, data);
    const forwardSubscription = ({ query, variables }) => ({
      subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
    });
    const client = new Client({
      url: server.url, preferGetMethod: false,
      exchanges: [
        cacheExchange({ updates: { Subscription: { conversationUpdated } } }), mapExchange({ onResult: urql.newestConversations() }),
        subscriptionExchange({ forwardSubscription, enableAllOperations: true }),
      ],
    });
    client.subscription(WATCH, {}).subscribe(() => {});
    await follow({
      watch: (next) => client.query(LIST, {}).subscribe(({ data }) => data && next(data.conversations.nodes)),
      mutate: (query, variables) => client.mutation(query, variables).toPromise(),
    });
  });
});
