/** A conversation in an update. Lists need the fields by which they are filtered and sorted. */
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
 * stores them. For a link of Apollo Client, or `onResult` of urql's `mapExchange` after the cache.
 */
export function newestConversations(options?: { limit?: number }): <R extends object>(result: R) => R;
