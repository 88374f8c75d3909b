import type { ConversationUpdate } from "./updates.js";

/** The methods of Graphcache's `Cache` that this uses. */
export interface Cache {
  keyOfEntity(entity: any): string | null;
  inspectFields(entity: any): Array<{ fieldName: string; fieldKey: string; arguments: Record<string, any> | null }>;
  resolve(entity: any, field: string): any;
  link(entity: any, field: string, link: any): void;
  invalidate(entity: any, field?: string): void;
  writeFragment(fragment: any, data: any): void;
}

/**
 * The updater of `Subscription.conversationUpdated`: each list `conversations` that the conversation joins, leaves or moves in. An
 * older update is undone, and false is returned.
 */
export function applyConversationUpdate(cache: Cache, data: ConversationUpdate): boolean;

export { newestConversations } from "./updates.js";
