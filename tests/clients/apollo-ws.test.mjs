// npm @apollo/client: subscriptions by GraphQLWsLink, the rest by HttpLink, split as its guide does.

import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { OperationTypeNode } from "graphql";
import { createClient } from "graphql-ws";

import { apollo } from "./apollo.mjs";
import { contract } from "./contract.mjs";
import { Sockets } from "./support.mjs";

contract("@apollo/client, GraphQLWsLink", Sockets, (wire, server) => {
  const socket = createClient({
    url: wire.url,
    webSocketImpl: wire.WebSocket,
    retryWait: () => server.ready(),
    shouldRetry: () => true,
  });
  const link = ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(socket),
    new HttpLink({ uri: server.url }),
  );
  return apollo(new ApolloClient({ link, cache: new InMemoryCache() }), () => socket.dispose());
});
