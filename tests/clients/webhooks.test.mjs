// Webhooks as a receiver in JavaScript verifies them, with the library of the specification.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import { Webhook } from "standardwebhooks";

import { Events, Server } from "./support.mjs";

const KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT_KEY = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
const OTHER_KEY = `whsec_${Buffer.alloc(32, 8).toString("base64")}`;

/** A receiver, whose requests are `received`. */
async function receive() {
  const received = new Events();
  const receiver = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    received.next({ headers: request.headers, body: Buffer.concat(chunks).toString() });
    response.writeHead(204).end();
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  return { received, url: `http://127.0.0.1:${receiver.address().port}/`, end: () => receiver.close() };
}

test("events are verified by standardwebhooks, with the old key and with the new one", async () => {
  const receiver = await receive();
  const folder = mkdtempSync(path.join(tmpdir(), "titlecast-webhooks-"));
  const config = path.join(folder, "titlecast.toml");
  writeFileSync(path.join(folder, "key"), `${KEY}\n${NEXT_KEY}\n`);
  writeFileSync(
    config,
    `[webhooks.test]\nurl = "${receiver.url}"\nsecret_file = "key"\ntenants = ["local"]\nallow_private = ["127.0.0.1"]\n`,
  );
  const server = await Server.start({ TITLECAST_CONFIG: config });
  try {
    let events = [];
    // The first messages may be older than the registration.
    for (let attempt = 0; events.length === 0 && attempt < 20; attempt++) {
      const response = await fetch(`http://127.0.0.1:${server.port}/api/v1/chat`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ message: "Plan a trip to Kyoto 🍁 in November" }),
      });
      assert.equal(response.status, 200);
      const one = await receiver.received
        .until(({ body }) => JSON.parse(body).type === "conversation.created", "event", 2_000)
        .catch(() => null);
      if (one) events.push(one);
    }
    events.push(
      await receiver.received.until(({ body }) => JSON.parse(body).type === "conversation.reply_ended", "event"),
    );
    for (const { headers, body } of events) {
      for (const key of [KEY, NEXT_KEY]) {
        const event = new Webhook(key).verify(body, headers);
        assert.deepEqual(event, JSON.parse(body));
      }
      assert.throws(() => new Webhook(OTHER_KEY).verify(body, headers));
      assert.throws(() => new Webhook(KEY).verify(body.replace("local", "other"), headers));
      const old = { ...headers, "webhook-timestamp": `${headers["webhook-timestamp"] - 3_600}` };
      assert.throws(() => new Webhook(KEY).verify(body, old));
    }
  } finally {
    await server.end();
    receiver.end();
    rmSync(folder, { recursive: true });
  }
});
