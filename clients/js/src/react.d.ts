import type { Client } from "graphql-ws";

export interface ConversationsOptions {
  /** How many conversations a page has; 50 by default. */
  first?: number;
  /** A `ConversationFilter` of the schema. */
  filter?: Record<string, unknown>;
  /** The newest activity first by default. */
  order?: "ACTIVITY_DESC" | "CREATED_DESC" | "PINNED_FIRST";
  /** Further fields of each conversation, as GraphQL: `"metadata { key value }"`. */
  fields?: string;
}

export interface LiveConversation {
  id: string;
  externalId: string | null;
  /** The title to show, or its fallback. */
  title: string;
  titleStatus: "PENDING" | "READY" | "FAILED" | "SKIPPED";
  status: "ACTIVE" | "DELETED";
  revision: number;
  messageCount: number;
  lastMessagePreview: string | null;
  lastMessageAt: string;
  createdAt: string;
  archivedAt: string | null;
  pinnedAt: string | null;
}

export interface Conversations<More = {}> {
  /** In the requested order; archived conversations only if the filter requests them. */
  conversations: Array<LiveConversation & More>;
  isLoading: boolean;
  hasMore: boolean;
  /** Why the list may be out of date; undefined again once it is current. */
  error: unknown;
  loadMore(): Promise<void>;
  refetch(): Promise<void>;
}

/** The caller's conversations, kept current: titles, new ones, deleted and archived ones. The list is read again after a disconnect. */
export function useConversations<More = {}>(client: Client, options?: ConversationsOptions): Conversations<More>;

export interface LiveReply {
  status: "idle" | "waiting" | "writing" | "ended";
  /** The id of the reply's message, as soon as it is known. */
  messageId: string | undefined;
  text: string;
  outcome: "COMPLETED" | "INCOMPLETE" | "FAILED" | undefined;
  /** Why it is incomplete. */
  reason: string | undefined;
  /** Why it failed, or cannot be followed at present. */
  error: { code?: string; message: string } | undefined;
  /** Stops the reply; resolves with whether it was running. */
  stop(): Promise<boolean>;
}

/** A reply (`messageId`), or the newest one of a conversation, as it is written; idle without either. */
export function useReply(client: Client, target?: { conversationId?: string; messageId?: string }): LiveReply;
