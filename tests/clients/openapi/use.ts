// A client that openapi-typescript generated from /openapi.json, and openapi-fetch runs: what it may send and what it
// gets is checked by the compiler, and that the server does so by running it.

import createClient from "openapi-fetch";

import type { components, paths } from "./titlecast.js";

type Schemas = components["schemas"];

/** The data of an answer, which must not be an error. */
function data<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.error !== undefined || answer.data === undefined) {
    throw new Error(`${answer.response.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

function check(isTrue: boolean, what: string): asserts isTrue {
  if (!isTrue) throw new Error(`${what} is not so`);
}

export async function use(baseUrl: string): Promise<void> {
  const api = createClient<paths>({ baseUrl });

  // A conversation by a message.
  const turn: Schemas["ChatAnswer"] = data(
    await api.POST("/api/v1/chat", {
      params: { header: { "Idempotency-Key": "first" } },
      body: { message: "How do I prune an apple tree?", context: { topic_hint: "Apple trees" } },
    }),
  );
  check(turn.metadata.is_complete && turn.response.length > 0, "a complete reply");
  const id = turn.conversation_id;
  const path = { id };

  // Lists.
  const list = data(await api.GET("/api/v1/conversations", { params: { query: { limit: 10 } } }));
  check(list.next_cursor === null && list.items.length === 1, "one conversation");
  const summary: Schemas["ConversationSummary"] | undefined = list.items[0];
  check(summary?.conversation_id === id && summary.message_count === 2, "its summary");

  // Names.
  const named = data(
    await api.PATCH("/api/v1/conversations/{id}/title", {
      params: { path },
      body: { display_name: "Pruning" },
    }),
  );
  check(named.display_name === "Pruning", "the title");
  const found = data(await api.GET("/api/v1/conversations/search", { params: { query: { q: "apple" } } }));
  check(found.items[0]?.display_name === "Pruning" && found.items[0].score > 0, "a search result");
  const stream = data(
    await api.GET("/api/v1/conversations/{id}/stream", {
      params: { path, query: { contract: "text" } },
      parseAs: "text",
    }),
  );
  check(stream === "data: Pruning\n\ndata: [DONE]\n\n", "the title's stream");

  // Histories.
  const history = data(await api.GET("/api/v1/conversations/{id}", { params: { path } }));
  check(history.messages[0]?.content === "How do I prune an apple tree?", "the first message");
  check(history.messages[1]?.content === turn.response, "the reply");
  const page = data(
    await api.GET("/api/v1/conversations/{id}/messages", {
      params: { path, query: { limit: 1, direction: "asc" } },
    }),
  );
  const cursor: string | null = page.next_cursor;
  check(page.prev_cursor === null && cursor !== null, "a page");

  // A message of another program, and its reply in steps.
  const thread = { id: "thread-1" };
  const recorded = data(
    await api.POST("/api/v1/conversations/{id}/messages", {
      params: { path: thread },
      body: { role: "user", content: "And a fig?", external_id: "m-1" },
    }),
  );
  check(recorded.status === "created" && recorded.external_id === "thread-1", "the record");
  const again = data(
    await api.POST("/api/v1/conversations/{id}/messages", {
      params: { path: thread },
      body: [{ role: "user", content: "And a fig?", external_id: "m-1" }],
    }),
  );
  check(again.items?.[0]?.status === "exists", "the same record");
  const open = data(
    await api.POST("/api/v1/conversations/{id}/replies", { params: { path: thread }, body: {} }),
  );
  const reply = { ...thread, reply_id: open.reply_id };
  const appended = data(
    await api.POST("/api/v1/conversations/{id}/replies/{reply_id}/append", {
      params: { path: reply },
      body: {
        offset: open.offset,
        text: "In summer.",
        parts: [{ type: "tool", id: "c1", name: "calendar", state: "completed", result: { month: 7 } }],
      },
    }),
  );
  check(appended.offset === 10 && appended.status === "running", "the append");
  const gap = await api.POST("/api/v1/conversations/{id}/replies/{reply_id}/append", {
    params: { path: reply },
    body: { offset: 99, text: "?" },
  });
  check(gap.error?.code === "OFFSET_MISMATCH" && gap.error.expected_offset === 10, "a gap");
  const finished = data(
    await api.POST("/api/v1/conversations/{id}/replies/{reply_id}/finish", {
      params: { path: reply },
      body: { outcome: "completed", usage: { prompt_tokens: 9, completion_tokens: 3 } },
    }),
  );
  check(finished.status === "completed", "the end");
  const progress = data(
    await api.GET("/api/v1/conversations/{id}/replies/{reply_id}", { params: { path: reply } }),
  );
  check(progress.offset === 10 && progress.status === "completed", "the progress");

  // GraphQL and health.
  const graphql = data(await api.POST("/graphql", { body: { query: "{ __typename }" } }));
  check(typeof graphql === "object" && graphql.data !== null, "GraphQL");
  check(data(await api.GET("/readyz")).status === "ready", "the server");

  // Deletions, and errors with their codes.
  for (const one of [path, thread]) {
    const { response } = await api.DELETE("/api/v1/conversations/{id}", { params: { path: one } });
    check(response.status === 204, "the deletion");
  }
  const gone = await api.GET("/api/v1/conversations/{id}", { params: { path } });
  check(gone.response.status === 404 && gone.error?.code === "NOT_FOUND", "the error");
}

/** What must not compile. */
export async function misuse(baseUrl: string): Promise<void> {
  const api = createClient<paths>({ baseUrl });
  // @ts-expect-error There is no such path.
  await api.GET("/api/v1/conversation");
  // @ts-expect-error A message needs its text.
  await api.POST("/api/v1/chat", { body: { conversation_id: "a" } });
  const body = { role: "tool", content: "a" } as const;
  // @ts-expect-error No such role.
  await api.POST("/api/v1/conversations/{id}/messages", { params: { path: { id: "a" } }, body });
  const { data: list } = await api.GET("/api/v1/conversations");
  // @ts-expect-error A title may be null.
  list?.items[0]?.display_name.length;
}
