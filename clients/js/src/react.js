"use client";
// Hooks for React on a client of graphql-ws: a list of conversations that keeps itself current, and a reply while it is written.
// The types are in react.d.ts.
import { useMemo, useSyncExternalStore } from "react";
import { ConversationList } from "./conversation-list.js";
import { ReplyText } from "./reply-text.js";

export function useConversations(client, options = {}) {
  const key = JSON.stringify(options);
  const list = useMemo(() => new ConversationList(client, JSON.parse(key)), [client, key]);
  const state = useSyncExternalStore(list.subscribe, list.state, list.state);
  return { ...state, loadMore: list.loadMore, refetch: list.refetch };
}

export function useReply(client, { conversationId, messageId } = {}) {
  const reply = useMemo(() => new ReplyText(client, conversationId, messageId), [client, conversationId, messageId]);
  const state = useSyncExternalStore(reply.subscribe, reply.state, reply.state);
  return { ...state, stop: reply.stop };
}
