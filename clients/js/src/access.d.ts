type Given<T> = T | (() => T | Promise<T>);

/** The server's address, and the caller's credentials. */
export interface AccessOptions {
  /** The server's URL; by default the page's own origin. */
  url?: string;
  /** A bearer token, or a function that returns the current one. */
  token?: Given<string | undefined>;
  headers?: Given<Record<string, string> | Headers | undefined>;
  /** `include` sends cookies to another origin. */
  credentials?: RequestCredentials;
  fetch?: typeof globalThis.fetch;
}
