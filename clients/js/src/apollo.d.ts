import type { ConversationUpdate } from "./updates.js";

/** The methods of an InMemoryCache that this uses; versions 3 and 4 of Apollo Client have them. */
export interface Cache {
  identify(object: any): string | undefined;
  readFragment(options: any): any;
  writeFragment(options: any): any;
  modify(options: any): boolean;
  evict(options: any): boolean;
  batch(options: any): any;
}

/**
 * Puts an update (`{ conversationUpdated }`, or a conversation) into the cache: the conversation, and each list `conversations` that it
 * joins, leaves or moves in. Returns false, and changes nothing, if the cache has a higher revision. Read the subscription with
 * `fetchPolicy: "no-cache"`: otherwise the client itself may write an older one first.
 */
export function applyConversationUpdate(cache: Cache, data: ConversationUpdate): boolean;

export { newestConversations } from "./updates.js";
