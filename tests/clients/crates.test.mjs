// The examples of `crates/`, which are servers on plain axum: npm graphql-http's audits, and the real clients.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";

import { serverAudits } from "graphql-http";
import * as sse from "graphql-sse";
import * as ws from "graphql-ws";
import WebSocket from "ws";

import { BINARY, within } from "./support.mjs";

const EXAMPLES = process.env.TITLECAST_EXAMPLES ?? path.join(path.dirname(BINARY), "examples");

/** Starts an example; its process and its address. */
async function start(example) {
  const program = path.join(EXAMPLES, example);
  const server = spawn(program, ["127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  server.on("error", () => {
    throw new Error(`no ${program}: run cargo build --examples -p graphql-gate -p graphql-transport`);
  });
  const [url] = await within(once(createInterface(server.stdout), "line"), "line with the address");
  return { server, url };
}

for (const example of ["plain_axum", "gate_on_axum"]) {
  describe(`graphql-http audits of the example ${example}`, () => {
    let server;
    let url;
    before(async () => {
      ({ server, url } = await start(example));
    });
    after(() => server.kill());

    const audits = serverAudits({ url: () => url });
    test("there are 61", () => assert.equal(audits.length, 61));

    for (const audit of audits) {
      test(`${audit.id} ${audit.name}`, async () => {
        const { status, reason } = await audit.fn();
        assert.equal(status, "ok", reason);
      });
    }
  });
}

const post = (url, query, token) =>
  fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query }),
  });

const socket = (url, options) =>
  ws.createClient({
    url: url.replace("http", "ws"),
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    lazy: false,
    onNonLazyError: () => {},
    ...options,
  });

/** The first `count` values of a subscription. */
async function take(count, values) {
  const taken = [];
  for await (const { data, errors } of values) {
    if (errors) throw new AggregateError(errors);
    taken.push(data);
    if (taken.length === count) break;
  }
  return taken;
}

describe("the example authenticated", () => {
  let server;
  let url;
  before(async () => {
    ({ server, url } = await start("authenticated"));
  });
  after(() => server.kill("SIGKILL"));
  const query = "subscription { greetings }";

  test("a header names the caller of a request", async () => {
    const answer = await post(url, "{ whoami }", "alice");
    assert.deepEqual(await answer.json(), { data: { whoami: "alice" } });
    assert.equal((await post(url, "{ whoami }", "eve")).status, 401);
    assert.equal((await post(url, "{ whoami }")).status, 401);
  });

  test("connection_init names the caller of a WebSocket without headers", async () => {
    const client = socket(url, { connectionParams: { token: "bob" } });
    const [{ whoami }] = await within(take(1, client.iterate({ query: "{ whoami }" })), "answer");
    assert.equal(whoami, "bob");
    const [first, second] = await within(take(2, client.iterate({ query })), "two greetings");
    assert.match(first.greetings, /hello, bob$/);
    assert.notEqual(first.greetings, second.greetings);
    await client.dispose();
  });

  test("a WebSocket without a valid token is closed with 4401", async () => {
    for (const connectionParams of [{ token: "eve" }, {}, undefined]) {
      const closed = new Promise((resolve) => socket(url, { connectionParams, on: { closed: resolve } }));
      assert.equal((await within(closed, "close")).code, 4401);
    }
  });

  test("graphql-sse streams with a header, and shares the greetings of a WebSocket", async () => {
    const headers = { authorization: "Bearer alice" };
    const client = sse.createClient({ url, headers, retryAttempts: 0 });
    const greetings = client.iterate({ query });
    for (const _ of [0, 1]) await within(greetings.next(), "greeting");
    const joined = socket(url, { connectionParams: { token: "alice" } });
    const [late] = await within(take(1, joined.iterate({ query })), "greeting");
    // An execution of its own would begin at 0.
    assert.match(late.greetings, /^[1-9]: hello, alice$/);
    client.dispose();
    await joined.dispose();
  });

  test("SIGINT closes WebSockets with 1012 and ends the program", async () => {
    const closed = new Promise((resolve) => {
      const client = socket(url, { connectionParams: { token: "bob" }, on: { closed: resolve } });
      client.subscribe({ query }, { next: () => server.kill("SIGINT"), error: () => {}, complete: () => {} });
    });
    const exit = once(server, "exit");
    assert.equal((await within(closed, "close")).code, 1012);
    assert.deepEqual(await within(exit, "exit"), [0, null]);
  });
});

describe("the example gated", () => {
  let server;
  let url;
  before(async () => {
    ({ server, url } = await start("gated"));
  });
  after(() => server.kill());

  test("async-graphql-axum executes what the gate admits", async () => {
    const answer = await post(url, "{ hello }");
    assert.deepEqual(await answer.json(), { data: { hello: "Hello, world" } });
    const bomb = await post(url, "{".repeat(1_000));
    assert.equal((await bomb.json()).errors[0].extensions.code, "QUERY_TOO_COMPLEX");
  });

  test("its WebSockets pass the gate too", async () => {
    const client = socket(url.replace("/graphql", "/ws"));
    const ticks = await within(take(2, client.iterate({ query: "subscription { ticks }" })), "two ticks");
    assert.deepEqual(ticks, [{ ticks: 0 }, { ticks: 1 }]);
    const deep = `subscription { ${"a { ".repeat(20)} b ${"}".repeat(20)} }`;
    await assert.rejects(within(take(1, client.iterate({ query: deep })), "refusal"));
    await client.dispose();
  });
});
