// The running server as a subgraph of Apollo Federation 2.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { composeServices } from "@theguild/federation-composition";
import { buildSchema, parse } from "graphql";

import { start } from "./server.js";

const pins = parse(`
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.5", import: ["@key"])

  extend type Conversation @key(fields: "id") {
    id: ID!
    pinned: Boolean!
  }
`);

const compose = (sdl) =>
  composeServices([
    { name: "titlecast", url: "http://titlecast/graphql", typeDefs: parse(sdl) },
    { name: "pins", url: "http://pins/graphql", typeDefs: pins },
  ]);

const directives = (node, name) =>
  node.directives
    .filter((directive) => directive.name.value === name)
    .map((directive) =>
      Object.fromEntries(directive.arguments.map(({ name, value }) => [name.value, value.value])),
    );

describe("federation", () => {
  let server;
  let sdl;

  async function ask(query, variables) {
    const response = await fetch(server.url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json" },
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(10_000),
    });
    assert.equal(response.status, 200);
    return response.json();
  }

  async function data(query, variables) {
    const { data, errors } = await ask(query, variables);
    assert.equal(errors, undefined, JSON.stringify(errors));
    return data;
  }

  const send = async (text) => {
    const query = `mutation ($input: SendMessageInput!) {
      sendMessage(input: $input) { conversation { id title } }
    }`;
    return (await data(query, { input: { text } })).sendMessage.conversation;
  };

  const ENTITIES = `query ($representations: [_Any!]!) {
    _entities(representations: $representations) {
      __typename
      ... on Conversation { id title messageCount }
    }
  }`;
  const representation = (id) => ({ __typename: "Conversation", id });

  before(async () => {
    server = await start();
    sdl = (await data("{ _service { sdl } }"))._service.sdl;
  });
  after(() => server?.stop());

  test("composes with a subgraph that adds a field to Conversation", () => {
    const { errors, supergraphSdl, publicSdl } = compose(sdl);
    assert.deepEqual(errors?.map(String) ?? [], []);

    const conversation = parse(supergraphSdl).definitions.find(
      ({ kind, name }) => kind === "ObjectTypeDefinition" && name.value === "Conversation",
    );
    assert.deepEqual(
      directives(conversation, "join__type")
        .map(({ graph, key }) => `${graph} by ${key}`)
        .sort(),
      ["PINS by id", "TITLECAST by id"],
    );
    const graphs = (field) =>
      directives(
        conversation.fields.find(({ name }) => name.value === field),
        "join__field",
      ).map(({ graph }) => graph);
    assert.deepEqual(graphs("pinned"), ["PINS"]);
    assert.deepEqual(graphs("title"), ["TITLECAST"]);
    // No `join__field`: both have it.
    assert.deepEqual(graphs("id"), []);

    const api = buildSchema(publicSdl);
    const { id, title, pinned } = api.getType("Conversation").getFields();
    assert.ok(id && title && pinned);
    const root = Object.keys(api.getQueryType().getFields());
    assert.deepEqual(
      root.filter((field) => field.startsWith("_")),
      [],
    );
  });

  test("the key is what lets it compose", () => {
    const without = sdl.replace(/(type Conversation\b[^{]*?) @key\(fields: "id"\)/, "$1");
    assert.notEqual(without, sdl);
    const codes = compose(without).errors?.map(({ extensions }) => extensions.code);
    assert.deepEqual(codes, ["INVALID_FIELD_SHARING"]);
  });

  test("answers for the conversations that another subgraph refers to", async () => {
    const [one, two] = [await send("About otters"), await send("About herons")];
    const unknown = randomUUID();
    const { _entities } = await data(ENTITIES, {
      representations: [two.id, unknown, one.id].map(representation),
    });
    assert.deepEqual(
      _entities.map((entity) => entity && [entity.__typename, entity.id]),
      [["Conversation", two.id], null, ["Conversation", one.id]],
    );
  });

  test("an id that names nothing is null", async () => {
    for (const id of [randomUUID(), "no UUID"]) {
      const answer = await ask(ENTITIES, { representations: [representation(id)] });
      assert.deepEqual(answer, { data: { _entities: [null] } });
    }
  });
});
