// npm @urql/core: everything by fetchExchange, subscriptions as server-sent events; retryExchange
// subscribes again.

import { Client, fetchExchange } from "@urql/core";
import { retryExchange } from "@urql/exchange-retry";

import { contract } from "./contract.mjs";
import { Streams } from "./support.mjs";
import { urql } from "./urql.mjs";

contract("urql, fetchSubscriptions", Streams, (wire) => {
  const retries = retryExchange({ initialDelayMs: 100, maxNumberAttempts: 20, randomDelay: false });
  const exchanges = [retries, fetchExchange];
  return urql(new Client({ url: wire.url, exchanges, fetchSubscriptions: true }));
});
