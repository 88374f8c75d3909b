import { fileURLToPath } from "node:url";

import graphql from "@graphql-eslint/eslint-plugin";

import { except } from "./except.js";

const { "flat/schema-recommended": recommended, "flat/schema-relay": relay } = graphql.configs;

// What the schema may do against a rule that has no option as narrow as this. Each is a rule, the
// schema coordinates it may be broken at, and by whose choice. One that nothing needs is an error.
const exceptions = [
  // async-graphql's connection module adds `nodes` beside `edges`, as GitHub's API has it.
  { rule: "relay-edge-types", at: /^\w+Connection\.nodes$/ },
  // ... and gives its connections no description. Their fields and the edges do have one.
  { rule: "require-description", at: /^\w+Connection$/ },
  // A hit is the result of one search and no object of its own. The Relay specification lets `node`
  // be any type but a list.
  { rule: "relay-edge-types", at: /^SearchHitEdge$/ },

  // An entry of the audit log is no object to look up again.
  { rule: "relay-edge-types", at: /^AuditEntryEdge$/ },
  // A page of the feed goes on from a cursor of the feed, at which no object stands.
  { rule: "relay-edge-types", at: /^ConversationChangePage\.changes$/ },

  // At most 20 parts of one message, given with it: there is nothing to page through.
  { rule: "relay-edge-types", at: /^Message\.attachments$/ },
  // At most 256 parts of one reply, and the newest versions of one message.
  { rule: "relay-edge-types", at: /^(Message\.parts|Message\.versions|ReplySoFar\.parts)$/ },
  // As many as run at once.
  { rule: "relay-edge-types", at: /^Conversation\.activeReplies$/ },
  // At most 16 pairs, the words of one snippet, and the scopes of one token.
  { rule: "relay-edge-types", at: /^(Conversation\.metadata|SearchHit\.highlights|Viewer\.scopes)$/ },
  // At most 256 agents of one file, with at most 16 models.
  { rule: "relay-edge-types", at: /^(Query\.agents|Agent\.models)$/ },

  // The Federation specification fixes these names, and that `_entities` is a list.
  { rule: "naming-convention", at: /^(Query\._(service|entities)|_Any|_Entity|_Service)\b/ },
  { rule: "relay-edge-types", at: /^Query\._entities$/ },
  // async-graphql writes them, without descriptions. They are for routers, not for people.
  { rule: "require-description", at: /^(Query\._(service|entities)|_Entity|_Service)\b/ },

  // async-graphql prints the directives of the GraphQL specification, without their arguments'
  // descriptions, and `@specifiedBy` although no scalar here has it.
  { rule: "require-description", at: /^@(include\(if:\)|skip\(if:\)|specifiedBy\(url:\))$/ },
  { rule: "no-unreachable-types", at: /^@specifiedBy$/ },
];

export default [
  {
    files: ["schema.graphql"],
    languageOptions: {
      parser: graphql.parser,
      parserOptions: {
        graphQLConfig: { schema: fileURLToPath(new URL("../../schema.graphql", import.meta.url)) },
      },
    },
    plugins: { "@graphql-eslint": graphql },
    processor: except(exceptions),
    rules: {
      ...recommended.rules,
      ...relay.rules,
      // As in `sendMessage(input: SendMessageInput!)`.
      "@graphql-eslint/input-name": [
        "error",
        { checkInputType: true, caseSensitiveInputType: false },
      ],
      "@graphql-eslint/no-scalar-result-type-on-mutation": "error",
      // Lists are paged forwards, as the Relay specification allows; only messages go both ways.
      "@graphql-eslint/relay-arguments": ["error", { includeBoth: false }],
      "@graphql-eslint/require-description": [
        "error",
        {
          types: true,
          rootField: true,
          DirectiveDefinition: true,
          EnumValueDefinition: true,
          FieldDefinition: true,
          InputValueDefinition: true,
        },
      ],
      "@graphql-eslint/strict-id-in-types": [
        "error",
        {
          exceptions: {
            // Of the Relay specification; what they hold has the ids.
            suffixes: ["Connection", "Edge", "Payload"],
            types: [
              "PageInfo",
              // A result of one search; its conversation and its message have ids.
              "SearchHit",
              // Parts of a message and of a conversation, which have ids.
              "Attachment",
              "Highlight",
              "MetadataEntry",
              "TitleError",
              "TokenUsage",
              "DataPart",
              "IndexedPart",
              "ReasoningPart",
              "TextPart",
              "ToolPart",
              // The caller, named by its token.
              "Viewer",
              // Named by its `name`.
              "Agent",
              // Named by its `replyId`, the id of the message that it becomes.
              "ActiveReply",
              // Events, and a part of one; the events name the message by `messageId`.
              "ConversationChange",
              "ConversationChangePage",
              "FeedReady",
              "FeedReset",
              "ReplyDelta",
              "ReplyEnded",
              "ReplyPart",
              "ReplyReasoning",
              "ReplySoFar",
              "ReplyError",
              // Of the Federation specification.
              "_Service",
            ],
          },
        },
      ],
    },
  },
];
