// npm @apollo/client: everything by HttpLink, which asks for subscriptions as multipart responses.

import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { RetryLink } from "@apollo/client/link/retry";

import { apollo } from "./apollo.mjs";
import { contract } from "./contract.mjs";
import { Streams } from "./support.mjs";

contract("@apollo/client, multipart HTTP", Streams, (wire, server) => {
  const link = ApolloLink.from([
    new RetryLink({ attempts: () => server.ready().then(() => true) }),
    new HttpLink({ uri: wire.url }),
  ]);
  return apollo(new ApolloClient({ link, cache: new InMemoryCache() }));
});
