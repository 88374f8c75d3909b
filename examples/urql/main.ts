// urql with its normalised cache: a message whose conversation joins the list, and its title when that is made.
import { fail } from "node:assert";
import { Client, fetchExchange, mapExchange, subscriptionExchange, type SubscriptionForwarder } from "@urql/core";
import { cacheExchange, type UpdateResolver } from "@urql/exchange-graphcache";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { graphql } from "./__generated__";

graphql(`fragment Fields on Conversation { id title titleStatus status revision }`);
const LIST = graphql(`query List { conversations(first: 20) { nodes { ...Fields } } }`);
const SEND = graphql(`mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }`);
const WATCH = graphql(`subscription Watch($id: ID) { conversationUpdated(id: $id) { ...Fields } }`);

const { TITLECAST_URL = "http://127.0.0.1:8080", TITLECAST_TOKEN: token } = process.env;
const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
const socket = createClient({
  url: `${TITLECAST_URL.replace("http", "ws")}/graphql`,
  connectionParams: () => headers,
  webSocketImpl: WebSocket, // Node.js has none of its own before 22
  retryAttempts: Infinity,
  shouldRetry: () => true, // also when the server cannot be reached for a while
});
const forwardSubscription: SubscriptionForwarder = ({ query = "", variables }) => ({
  subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
});

// Tells the list of new conversations and of deleted ones. Whatever else changes is found by its id.
const conversationUpdated: UpdateResolver = ({ conversationUpdated: changed }: any, _variables, cache) => {
  if (changed.status === "DELETED") return cache.invalidate(changed);
  cache.updateQuery({ query: LIST }, (list) => {
    const nodes = list?.conversations.nodes;
    if (nodes?.every(({ id }) => id !== changed.id)) nodes.unshift(changed);
    return list;
  });
};
const cache = cacheExchange({ updates: { Subscription: { conversationUpdated } } });

// An event may overtake an older answer: of two states, the cache keeps the one with the higher revision.
const newest = new Map<string, any>();
function keepNewer(_key: string, value: any) {
  if (!value?.revision) return value;
  if (!(newest.get(value.id)?.revision > value.revision)) newest.set(value.id, value);
  return { ...value, ...newest.get(value.id) };
}
const onResult = (result: any) => ({ ...result, data: JSON.parse(JSON.stringify(result.data ?? null), keepNewer) });

const exchanges = [cache, mapExchange({ onResult }), fetchExchange, subscriptionExchange({ forwardSubscription })];
const client = new Client({ url: `${TITLECAST_URL}/graphql`, fetchOptions: { headers }, exchanges });

setTimeout(fail, 30_000, "no title within 30 seconds");
const id = crypto.randomUUID();
client.query(LIST, {}).subscribe(({ data }) => {
  console.table(data?.conversations.nodes, ["title", "titleStatus", "revision"]);
  if (data?.conversations.nodes.some((one) => one.id === id && one.titleStatus === "READY")) process.exit();
});
const sent = await client.mutation(SEND, { input: { conversationId: id, text: "How do I prune an apple tree?" } });
if (sent.error) fail(sent.error.message);
client.subscription(WATCH, { id }).subscribe(({ error }) => error && console.error(error.message));
