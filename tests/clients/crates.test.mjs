// npm graphql-http: its audits of the examples of `crates/`, which are servers on plain axum.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";

import { serverAudits } from "graphql-http";

import { BINARY, within } from "./support.mjs";

for (const example of ["plain_axum", "gate_on_axum"]) {
  describe(`graphql-http audits of the example ${example}`, () => {
    let server;
    let url;
    before(async () => {
      const program = path.join(path.dirname(BINARY), "examples", example);
      server = spawn(program, ["127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
      server.on("error", () => {
        throw new Error(`no ${program}: run cargo build --examples -p graphql-gate -p graphql-transport`);
      });
      [url] = await within(once(createInterface(server.stdout), "line"), "line with the address");
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
