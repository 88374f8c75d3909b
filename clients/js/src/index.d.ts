/** The person that a service acts for, and their tenant where the token may name one. */
export interface OnBehalf {
  user?: string;
  tenant?: string;
}

/** A message of a person, or of an assistant that has answered already. */
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
  /** The person's message, recorded before the reply is opened. */
  message?: string | Message;
  /** Answers from now on; of the message too, unless that names one. */
  agent?: string;
  in_reply_to?: string;
}

export type Outcome = "completed" | "incomplete" | "failed" | "stopped";

/** A part of a reply beside its text. The same tool `id` again completes the same call. */
export type Part =
  | { type: "reasoning"; text: string }
  | { type: "tool"; id: string; name: string; arguments?: string; result?: unknown; state?: string }
  | { type: "data"; name: string; id?: string; data: unknown };

/** A reply while it is written. Its methods neither wait nor throw; `ended` never rejects. */
export interface Reply {
  /** The id of the reply's message. */
  readonly id: string;
  /** Aborted when a user stops the reply: give it to what the agent waits for. */
  readonly signal: AbortSignal;
  /** How the reply ended on the server; `error` says why an upload failed. */
  readonly ended: Promise<{ outcome?: Outcome; error?: string }>;
  text(text: string): void;
  part(part: Part): void;
  finish(outcome?: Outcome): void;
  /** Passes on what a model's stream yields, unchanged, and uploads it; with `ends` the reply ends with the stream. */
  tee<T>(stream: ReadableStream<T>, options?: { ends?: boolean }): ReadableStream<T>;
  tee<T>(stream: AsyncIterable<T>, options?: { ends?: boolean }): AsyncGenerator<T>;
}

export class Titlecast {
  /** `url` and `token` default to TITLECAST_URL and TITLECAST_TOKEN; `patienceMs` is how long a failing upload is tried again. */
  constructor(options?: { url?: string; token?: string; patienceMs?: number });
  /** Stores a message without asking for a reply; the first one of a person starts the title. Rejects with TitlecastError. */
  recordMessage(conversation: string, message: string | Message, onBehalf?: OnBehalf): Promise<Record<string, unknown>>;
  /** Opens a reply that your program writes, until its `finish`. Returns at once. */
  reply(conversation: string, options?: ReplyOptions): Reply;
  /** Passes on what a model's stream yields, unchanged, and uploads it as a reply. */
  tee<T>(stream: ReadableStream<T>, conversation: string, options?: ReplyOptions): ReadableStream<T>;
  tee<T>(stream: AsyncIterable<T>, conversation: string, options?: ReplyOptions): AsyncGenerator<T>;
  /** Waits for the uploads under way, at most `timeoutMs` (10 s). A reply without an end becomes incomplete. */
  close(timeoutMs?: number): Promise<void>;
}

/** Titlecast refused a request, or did not answer (`status` 0). `detail` is the server's words. */
export class TitlecastError extends Error {
  readonly status: number;
  readonly code?: string;
  readonly detail?: string;
}
