/** A conversation as an update has it. Lists need the fields that they are filtered and sorted by. */
export interface ConversationFields {
  id: string;
  revision: number;
  status?: "ACTIVE" | "DELETED" | (string & {});
  archivedAt?: string | null;
  pinnedAt?: string | null;
  lastMessageAt?: string;
  [field: string]: unknown;
}

export type ConversationUpdate = { conversationUpdated: ConversationFields } | ConversationFields | object | null | undefined;

/**
 * A function that brings the conversations of a result (`{ data }`) up to the newest revision that it has seen, before a cache
 * takes them. For a link of Apollo Client, or `onResult` of urql's `mapExchange` behind the cache.
 */
export function newestConversations(options?: { limit?: number }): <R extends object>(result: R) => R;
