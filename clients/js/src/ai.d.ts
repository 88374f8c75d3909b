import type { ChatTransport, UIMessage } from "ai";
import type { AccessOptions } from "./access.js";

export interface TransportOptions extends AccessOptions {
  /** How long to keep reconnecting to a reply after a disconnect; 60 s by default. */
  patienceMs?: number;
  /**
   * Whether `stop()` of a chat stops the reply it has asked for. By default it only stops reading, since version 7 of the SDK calls
   * it too when a component unmounts.
   */
  stopOnAbort?: boolean;
  /** The agent that answers. */
  agent?: string;
  /** The conversation of a chat, if its id differs from the chat's. */
  conversation?: (chatId: string) => string | Promise<string>;
}

export interface TitlecastTransport<UI_MESSAGE extends UIMessage = UIMessage> extends ChatTransport<UI_MESSAGE> {
  readonly resumeStreamIsReplay: boolean;
  /**
   * Stops the running reply of a chat, also one that another page started. Its stream ends with the outcome `stopped`. Resolves with
   * whether a reply ran.
   */
  stop(chatId: string): Promise<boolean>;
  /** The stored messages of a chat, oldest first; empty for an unknown chat. */
  history(chatId: string): Promise<UI_MESSAGE[]>;
}

/** A transport for `useChat`: sends only the last message, and resumes a reply after a disconnect. */
export function titlecastTransport<UI_MESSAGE extends UIMessage = UIMessage>(
  options?: TransportOptions,
): TitlecastTransport<UI_MESSAGE>;

/** The data of `data-conversation-title`, which `onData` receives. */
export interface TitleData {
  conversationId: string;
  title: string | null;
  titleStatus: "PENDING" | "READY" | "FAILED" | "SKIPPED";
  revision: number;
}
