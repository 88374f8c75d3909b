// Apollo Client: a list of conversations that keeps itself up to date, and a message whose title appears in it.
import { fail } from "node:assert";
import { ApolloClient, ApolloLink, InMemoryCache } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { createClient } from "graphql-ws";
import { map } from "rxjs";
import WebSocket from "ws";
import { graphql } from "./__generated__";

const FIELDS = graphql(`fragment Fields on Conversation { id title titleStatus status revision }`);
const WATCH = graphql(`subscription Watch { conversationUpdated { ...Fields } }`);
const LIST = graphql(`query List { conversations(first: 20) { nodes { ...Fields } } }`);
const SEND = graphql(`mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { conversation { id } } }`);

const { TITLECAST_URL = "http://127.0.0.1:8080", TITLECAST_TOKEN: token } = process.env;
Object.assign(globalThis, { WebSocket }); // Node.js has none of its own before 22
const socket = createClient({
  url: `${TITLECAST_URL.replace("http", "ws")}/graphql`,
  connectionParams: () => (token ? { authorization: `Bearer ${token}` } : {}),
  retryAttempts: Infinity,
  shouldRetry: () => true, // also when the server cannot be reached for a while
});
const cache = new InMemoryCache();
// An event may overtake an older answer: of two states, the cache keeps the one with the higher revision.
function keepNewer(_key: string, value: any) {
  if (value?.__typename !== "Conversation") return value;
  const known = cache.readFragment({ id: cache.identify(value), fragment: FIELDS });
  return known && known.revision > value.revision ? { ...value, ...known } : value;
}
const newer = new ApolloLink((operation, forward) =>
  forward(operation).pipe(map((result) => JSON.parse(JSON.stringify(result), keepNewer))),
);
// One socket for everything: what is sent behind the subscription does not happen before it.
const client = new ApolloClient({ cache, link: newer.concat(new GraphQLWsLink(socket)) });

client.subscribe({ query: WATCH }).subscribe(({ data, error }) => {
  if (!data) throw error;
  const changed = data.conversationUpdated; // the cache has it by now, under its id
  if (changed.status === "DELETED") return void cache.evict({ id: cache.identify(changed) });
  cache.updateQuery({ query: LIST }, (list) => {
    if (!list || list.conversations.nodes.some(({ id }) => id === changed.id)) return;
    return { conversations: { ...list.conversations, nodes: [changed, ...list.conversations.nodes] } };
  });
});
const list = client.watchQuery({ query: LIST });
// Changes during a disconnect were not delivered: read the list again.
socket.on("connected", (_socket, _payload, isAgain) => isAgain && list.refetch());

setTimeout(fail, 30_000, "no title within 30 seconds");
const id = crypto.randomUUID();
list.subscribe(({ data, dataState }) => {
  if (dataState !== "complete") return;
  console.table(data.conversations.nodes, ["title", "titleStatus", "revision"]);
  if (data.conversations.nodes.some((one) => one.id === id && one.titleStatus === "READY")) process.exit();
});
// With a key the message is stored once, even when a connection breaks and it is sent again.
const input = { conversationId: id, idempotencyKey: id, text: "How do I prune an apple tree?" };
await client.mutate({ mutation: SEND, variables: { input } });
