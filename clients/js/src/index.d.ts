/** The user that a service acts for, and the user's tenant if the token allows naming one. */
export interface OnBehalf {
  user?: string;
  tenant?: string;
}

/** A message of the user, or a finished reply of the assistant. */
export interface Message {
  content: string;
  role?: "user" | "assistant";
  message_id?: string;
  external_id?: string;
  created_at?: string;
  agent?: string;
  topic_hint?: string;
  auto_title?: boolean;
}

export interface ReplyOptions extends OnBehalf {
  /** The user's message, recorded before the reply is opened. */
  message?: string | Message;
  /** The agent that answers from now on; also of the message, unless the message names another. */
  agent?: string;
  in_reply_to?: string;
}

export type Outcome = "completed" | "incomplete" | "failed" | "stopped";

/** A part of a reply other than its text. A repeated tool `id` updates the same call. */
export type Part =
  | { type: "reasoning"; text: string }
  | { type: "tool"; id: string; name: string; arguments?: string; result?: unknown; state?: string }
  | { type: "data"; name: string; id?: string; data: unknown };

/** A reply that is being written. Its methods neither block nor throw; `ended` never rejects. */
export interface Reply {
  /** The id of the reply's message. */
  readonly id: string;
  /** Aborted when a user stops the reply: pass it to the calls that the agent waits for. */
  readonly signal: AbortSignal;
  /** How the reply ended on the server; `error` says why an upload failed. */
  readonly ended: Promise<{ outcome?: Outcome; error?: string }>;
  text(text: string): void;
  part(part: Part): void;
  finish(outcome?: Outcome): void;
  /** Passes a model's stream on unchanged, and uploads it; with `ends` the reply ends with the stream. */
  tee<T>(stream: ReadableStream<T>, options?: { ends?: boolean }): ReadableStream<T>;
  tee<T>(stream: AsyncIterable<T>, options?: { ends?: boolean }): AsyncGenerator<T>;
}

export class Titlecast {
  /** `url` and `token` default to TITLECAST_URL and TITLECAST_TOKEN; `patienceMs` is how long a failing upload is retried. */
  constructor(options?: { url?: string; token?: string; patienceMs?: number });
  /** Stores a message without requesting a reply; the user's first message starts the title. Rejects with TitlecastError. */
  recordMessage(conversation: string, message: string | Message, onBehalf?: OnBehalf): Promise<Record<string, unknown>>;
  /** Opens a reply that your program writes, until its `finish`. Returns at once. */
  reply(conversation: string, options?: ReplyOptions): Reply;
  /** Passes a model's stream on unchanged, and uploads it as a reply. */
  tee<T>(stream: ReadableStream<T>, conversation: string, options?: ReplyOptions): ReadableStream<T>;
  tee<T>(stream: AsyncIterable<T>, conversation: string, options?: ReplyOptions): AsyncGenerator<T>;
  /** Waits for the uploads under way, at most `timeoutMs` (10 s). A reply without an end becomes incomplete. */
  close(timeoutMs?: number): Promise<void>;
}

/** Titlecast refused a request, or did not answer (`status` 0). `detail` is the server's error text. */
export class TitlecastError extends Error {
  readonly status: number;
  readonly code?: string;
  readonly detail?: string;
}
