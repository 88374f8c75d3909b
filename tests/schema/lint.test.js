// The schema against the rules of eslint.config.js.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { ESLint } from "eslint";

const root = fileURLToPath(new URL("../../", import.meta.url));
const schema = join(root, "schema.graphql");
const eslint = new ESLint({
  cwd: root,
  overrideConfigFile: fileURLToPath(new URL("eslint.config.js", import.meta.url)),
});

const said = (results) =>
  results.flatMap(({ messages }) =>
    messages.map(({ line, column, ruleId, message }) => `${line}:${column} ${ruleId}: ${message}`),
  );

test("the schema keeps every rule", async () => {
  const results = await eslint.lintFiles([schema]);
  assert.equal(results.length, 1);
  assert.deepEqual(said(results), []);
});

test("the rules are on, and exceptions are no wider than they say", async () => {
  const text = await readFile(schema, "utf8");
  const bad = `${text.trimEnd()}
extend type Query {
	_third(Loud: Int): [Message!]!
}
extend enum Role {
	quiet
}
`;
  const found = said(await eslint.lintText(bad, { filePath: schema }));
  const about = (rule, what) =>
    assert.ok(
      found.some((line) => line.includes(`@graphql-eslint/${rule}: `) && line.includes(what)),
      `${rule} says nothing of ${what}:\n${found.join("\n")}`,
    );
  about("naming-convention", '"_third" should be in camelCase');
  about("naming-convention", '"Loud" should be in camelCase');
  about("naming-convention", '"quiet" should be in UPPER_CASE');
  about("require-description", '"_third"');
  about("require-description", '"Loud"');
  about("require-description", '"quiet"');
  about("relay-edge-types", "A list type should only wrap an edge type");
});

test("an exception that nothing needs is reported", async () => {
  const text = await readFile(schema, "utf8");
  const without = text.replaceAll(/\t"""\n\tA list of nodes\.\n\t"""\n\tnodes: .*\n/g, "");
  assert.notEqual(without, text);
  const found = said(await eslint.lintText(without, { filePath: schema }));
  assert.deepEqual(found, [
    "1:1 except: Nothing needs the exception from relay-edge-types at /^\\w+Connection\\.nodes$/",
  ]);
});
