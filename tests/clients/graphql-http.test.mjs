// npm graphql-http: its audits of a server's GraphQL over HTTP.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { serverAudits } from "graphql-http";

import { Server } from "./support.mjs";

describe("graphql-http audits", () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server.end());

  const audits = serverAudits({ url: () => server.url });
  test("there are 61", () => assert.equal(audits.length, 61));

  for (const audit of audits) {
    test(`${audit.id} ${audit.name}`, async () => {
      const { status, reason } = await audit.fn();
      assert.equal(status, "ok", reason);
    });
  }
});
