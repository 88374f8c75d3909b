// openapi.json against the rules that Redocly recommends.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import test from "node:test";

import { createConfig, lintFromString } from "@redocly/openapi-core";

const path = fileURLToPath(new URL("../../openapi.json", import.meta.url));

const config = await createConfig({
  extends: ["recommended-strict"],
  rules: {
    // The project has no licence yet.
    "info-license": "off",
    // The metrics are on a listener of this machine.
    "no-server-example.com": "off",
    // The pages of health, and this document, answer everyone.
    "operation-4xx-response": "error",
    // Read by those who receive streams; no operation refers to them but by `x-event`.
    "no-unused-components": "off",
    "operation-operationId": "error",
    "operation-description": "off",
    "tag-description": "error",
  },
});

const said = async (text) => {
  const problems = await lintFromString({ source: text, absoluteRef: path, config });
  return problems.map(
    ({ ruleId, message, location }) => `${ruleId}: ${message} (${location[0]?.pointer})`,
  );
};

test("the document keeps every rule", async () => {
  assert.deepEqual(await said(await readFile(path, "utf8")), []);
});

test("the rules are on", async () => {
  const document = JSON.parse(await readFile(path, "utf8"));
  const operation = document.paths["/api/v1/conversations/{id}"].get;
  delete operation.summary;
  operation.parameters = [];
  document.paths["/healthz"].get.operationId = operation.operationId;
  const rules = (await said(JSON.stringify(document))).map((line) => line.split(":")[0]);
  for (const rule of ["operation-summary", "path-parameters-defined", "operation-operationId-unique"]) {
    assert.ok(rules.includes(rule), `${rule} says nothing: ${rules}`);
  }
});

test("every stream of events has their schema", async () => {
  const document = JSON.parse(await readFile(path, "utf8"));
  const streams = [];
  for (const [route, operations] of Object.entries(document.paths)) {
    for (const { operationId, responses } of Object.values(operations)) {
      const response = responses["200"];
      const content = response?.content?.["text/event-stream"];
      // The events of GraphQL are described by its schema.
      if (!content || route === "/graphql") {
        continue;
      }
      streams.push(operationId);
      const event = response["x-event"] ?? content.schema;
      const schemas = (event.oneOf ?? [event]).map(({ $ref }) => $ref?.split("/").at(-1));
      for (const name of schemas) {
        assert.ok(document.components.schemas[name], `${operationId} has no schema of its events: ${JSON.stringify(event)}`);
      }
    }
  }
  assert.ok(streams.length >= 8, `${streams}`);
});
