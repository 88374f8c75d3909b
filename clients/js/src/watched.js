// A state that is kept current by subscriptions over graphql-ws, while it is looked at.
import { TitlecastError } from "./error.js";

const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 30_000;
// A client that reads too slowly, and a server that is too busy: the same request may succeed later.
const PASSING = ["LAGGED", "OVERLOADED", "RATE_LIMITED", "SHUTTING_DOWN", "INTERNAL", "DATABASE_UNAVAILABLE"];

/** For `useSyncExternalStore`: starts with the first listener and stops with the last. */
export class Watched {
  #state;
  #listeners = new Set();
  #leave;

  constructor(state) {
    this.#state = state;
  }

  state = () => this.#state;

  subscribe = (listener) => {
    this.#listeners.add(listener);
    this.#leave ??= this.start();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size) return;
      this.#leave?.();
      this.#leave = undefined;
    };
  };

  change(change) {
    this.#state = { ...this.#state, ...change };
    for (const listener of this.#listeners) listener();
  }
}

/**
 * Follows a subscription until `leave`, beginning again after errors that pass; others are for `onError`. `onBegin` runs behind
 * each request that goes out, also after the client has connected again.
 */
export function follow(client, query, variables, { onData, onBegin = () => {}, onError, onEnd = () => {} }) {
  let isOver = false;
  let pauseMs = FIRST_PAUSE_MS;
  let timer, unsubscribe;
  const off = client.on("connected", (_socket, _payload, isRetry) => isRetry && onBegin());
  const again = (error) => {
    if (isOver) return;
    onError(error);
    if (!isPassing(error)) return leave();
    timer = setTimeout(begin, pauseMs);
    pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS);
  };
  const begin = () => {
    unsubscribe = client.subscribe({ query, variables }, {
      next: ({ data, errors }) => {
        if (isOver) return;
        if (errors?.length) return void (unsubscribe(), again(refusal(errors)));
        pauseMs = FIRST_PAUSE_MS;
        onData(data);
      },
      error: (error) => again(Array.isArray(error) ? refusal(error) : error),
      complete: () => isOver || onEnd(),
    });
    onBegin();
  };
  const leave = () => {
    isOver = true;
    clearTimeout(timer);
    off();
    unsubscribe?.();
  };
  begin();
  return leave;
}

/** The data of a query or a mutation over the same socket. */
export function ask(client, query, variables) {
  return new Promise((resolve, reject) => {
    let found;
    client.subscribe({ query, variables }, {
      next: (result) => (found = result),
      error: (error) => reject(Array.isArray(error) ? refusal(error) : error),
      complete: () => (found?.data && !found.errors ? resolve(found.data) : reject(refusal(found?.errors ?? []))),
    });
  });
}

const refusal = ([first]) =>
  new TitlecastError("the request failed", { status: 0, body: { code: first?.extensions?.code ?? "NO_ANSWER", message: first?.message } });

/** A socket that was closed is passing, unless the server refused what the client is. */
const isPassing = (error) => (error instanceof TitlecastError ? PASSING.includes(error.code) : ![4400, 4401, 4403].includes(error?.code));
