// What every client library must be able to do with the server. A client's file says how it is set up
// and how it does each of these:
//
//   watch(id, sink)   subscribes with WATCH; returns what unsubscribes
//   send(text)        sends a first message with SEND; resolves with the new conversation
//   read(id)          asks for a conversation with READ
//   close()           lets go of everything

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { Events, Server, Sockets, within } from "./support.mjs";

const FIELDS = "id displayName titleStatus messageCount revision";

export const WATCH = `subscription Watch($id: ID) { conversationUpdated(id: $id) { ${FIELDS} } }`;
export const SEND = `mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) { conversation { ${FIELDS} } }
}`;
export const READ = `query Read($id: ID!) { conversation(id: $id) { ${FIELDS} } }`;

/** `connect(wire, server)` sets the client up; `Wire` is `Sockets` or `Streams`. */
export function contract(name, Wire, connect) {
  describe(name, () => {
    let server, wire, client, stops;

    beforeEach(async () => {
      server = await Server.start();
      wire = await Wire.start(server);
      client = connect(wire, server);
      stops = [];
    });

    afterEach(async () => {
      for (const stop of stops) stop();
      await client.close();
      await wire.end();
      await server.end();
    });

    /** Subscribes, and goes on when the server has the subscription. */
    async function watch(id) {
      const events = new Events();
      const stop = client.watch(id, events);
      stops.push(stop);
      const operation = await wire.subscribed.until(() => true, "subscription");
      return { events, stop, operation };
    }

    const send = (text) => within(client.send(text), "answer to a mutation");

    const titled = ({ events }, { id }) =>
      events.until(
        (state) => state.id === id && state.titleStatus === "READY" && state.displayName !== null,
        "title",
      );

    test("a first message's title comes by itself", async () => {
      const all = await watch();
      const conversation = await send("How do I prune an apple tree?");
      await titled(all, conversation);
    });

    test("a subscription to one conversation begins with its present state", async () => {
      const all = await watch();
      const { id } = await send("How do I prune an apple tree?");
      // With the reply behind it, nothing changes any more.
      const isAtRest = (state) => state.titleStatus === "READY" && state.messageCount === 2;
      await all.events.until((state) => state.id === id && isAtRest(state), "reply");
      const present = await within(client.read(id), "answer to a query");
      const one = await watch(id);
      const first = await one.events.until(() => true, "present state");
      assert.deepEqual({ ...first }, { ...present });
    });

    test("a subscription outlives a restart of the server", async () => {
      const all = await watch();
      await titled(all, await send("How do I prune an apple tree?"));
      await server.restart();
      const again = wire.subscribed.until(() => true, "second subscription");
      await Promise.race([again, all.events.over]);
      await titled(all, await send("Which soil do blueberries like?"));
    });

    test("an operation that is cancelled ends on the server", async () => {
      const first = await send("How do I prune an apple tree?");
      const kept = await watch(first.id);
      const all = await watch();
      all.stop();
      await within(all.operation.ended, "end of the operation");
      const second = await send("Which soil do blueberries like?");
      const received = [all.events.values.length, all.operation.messages.length];
      const other = await watch(second.id);
      await titled(other, second);
      assert.deepEqual([all.events.values.length, all.operation.messages.length], received);
      kept.stop();
      other.stop();
      await client.close();
      if (wire instanceof Sockets) {
        const code = await wire.closed.until(() => true, "end of the socket");
        assert.ok([1000, 1005].includes(code), `closed with ${code}, and not cleanly`);
      }
    });
  });
}
