// What the page asks of Titlecast beside `useChat`: one socket for what is live, and the operations of the list.
import { createClient } from "graphql-ws";
import { titlecastTransport } from "titlecast/ai";

const url = location.origin;

export const transport = titlecastTransport({ url });

export const client = createClient({
  url: `${url.replace(/^http/, "ws")}/graphql`,
  retryAttempts: Infinity,
  shouldRetry: () => true, // also while the server restarts
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 500)),
});

export interface Hit {
  conversation: { id: string; title: string };
  snippet: string;
}

export const rename = (id: string, displayName: string) =>
  ask("mutation ($input: RenameConversationInput!) { renameConversation(input: $input) { conversation { id } } }", {
    input: { id, displayName },
  });

export const nameAnew = (id: string) =>
  ask("mutation ($input: RegenerateTitleInput!) { regenerateTitle(input: $input) { conversation { id } } }", {
    input: { id, replaceManual: true },
  });

export const archive = (conversationId: string) =>
  ask("mutation ($input: ArchiveConversationInput!) { archiveConversation(input: $input) { conversation { id } } }", {
    input: { conversationId },
  });

export async function search(query: string): Promise<Hit[]> {
  const document = "query ($query: String!) { searchConversations(query: $query) { nodes { snippet conversation { id title } } } }";
  return (await ask(document, { query })).searchConversations.nodes;
}

async function ask(query: string, variables: object) {
  const response = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(errors[0].message);
  return data;
}
