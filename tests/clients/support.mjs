// Starts and stops the server, and watches the wire for what a client does not show.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import WebSocket from "ws";

// Sooner than the server's first keep-alive after 12 seconds, which must not be what brings an event.
const DEADLINE_MS = 10_000;
export const BINARY =
  process.env.TITLECAST_BIN ??
  fileURLToPath(new URL("../../target/debug/titlecast", import.meta.url));

/** The result of a promise, or an error that says what did not come in time. */
export async function within(promise, what, deadlineMs = DEADLINE_MS) {
  const timer = new AbortController();
  const late = delay(deadlineMs, null, { signal: timer.signal }).then(() => {
    throw new Error(`no ${what} within ${deadlineMs} ms`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
    late.catch(() => {});
  }
}

/** What a subscription received, in order; a sink for the client, a queue for the test. */
export class Events {
  values = [];
  #end;
  /** Rejects when the subscription ends. */
  over = new Promise((_, reject) => (this.#end = reject));
  #read = 0;
  #wake = () => {};

  constructor() {
    this.over.catch(() => {});
  }

  next = (value) => {
    this.values.push(value);
    this.#wake();
  };
  error = (cause) => this.#end(new Error("the subscription failed", { cause }));
  complete = () => this.#end(new Error("the subscription was completed"));

  /** The next value that matches; those before it are passed over. */
  async until(matches, what, deadlineMs) {
    for (;;) {
      while (this.#read < this.values.length) {
        const value = this.values[this.#read++];
        if (matches(value)) return value;
      }
      const more = new Promise((resolve) => (this.#wake = resolve));
      await within(Promise.race([more, this.over]), what, deadlineMs);
    }
  }
}

/** The server's process, with a database of its own. */
export class Server {
  #folder = mkdtempSync(path.join(tmpdir(), "titlecast-clients-"));
  #process;
  #port;
  #settings;
  #ready;

  /** `settings` are of its environment. */
  static async start(settings = {}) {
    const server = new Server();
    server.#settings = settings;
    server.#port = await freePort();
    await server.#spawn();
    return server;
  }

  get port() {
    return this.#port;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}/graphql`;
  }

  /** Resolves as soon as the server can be used, be it after a restart. */
  ready() {
    return this.#ready;
  }

  /** Stops the process, by default as an operator would, and starts another on the same port and database. */
  async restart(signal = "SIGTERM") {
    this.#process.kill(signal);
    let spawned;
    this.#ready = new Promise((resolve, reject) => (spawned = { resolve, reject }));
    this.#ready.catch(() => {});
    const [code] = await within(once(this.#process, "exit"), "end of the server");
    if (code !== 0 && signal === "SIGTERM") throw new Error(`the server exited with ${code}`);
    await this.#spawn().then(spawned.resolve, spawned.reject);
    return this.#ready;
  }

  async end() {
    if (this.#process.exitCode === null && !this.#process.signalCode) {
      this.#process.kill("SIGKILL");
      await once(this.#process, "exit");
    }
    rmSync(this.#folder, { recursive: true });
  }

  async #spawn() {
    const { OPENAI_API_KEY, OPENAI_BASE_URL, ...env } = process.env;
    const database = `sqlite://${path.join(this.#folder, "titlecast.db")}?mode=rwc`;
    const listen = `127.0.0.1:${this.#port}`;
    const child = spawn(BINARY, ["--listen", listen, "--metrics-listen", "127.0.0.1:0", "--database-url", database], {
      env: { ...env, TITLECAST_LOG: env.TITLECAST_LOG ?? "error", ...this.#settings },
      stdio: ["ignore", "inherit", "inherit"],
    });
    process.once("exit", () => child.kill("SIGKILL"));
    this.#process = child;
    await once(child, "spawn");
    const ready = this.#poll(child);
    this.#ready ??= ready;
    await within(ready, "/readyz");
  }

  async #poll(child) {
    while (child.exitCode === null) {
      const response = await fetch(new URL("/readyz", this.url)).catch(() => null);
      if (response?.ok) return;
      await delay(20);
    }
    throw new Error(`the server exited with ${child.exitCode}`);
  }
}

/** The scripted model: a message says how long its reply is ("… in 40 words"), and that it breaks off ("… then break"). */
export async function startModel(pace = 0.005) {
  const program = fileURLToPath(new URL("../../clients/testing/model.py", import.meta.url));
  const child = spawn("python3", ["-B", program, String(pace)], { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => child.kill());
  const [url] = await once(createInterface(child.stdout), "line");
  const settings = { OPENAI_BASE_URL: url, OPENAI_API_KEY: "none", TITLECAST_TITLE_CHECK: "false" };
  return { settings, end: () => child.kill() };
}

/** A port that is free and stays so: below those that the system gives to outgoing connections. */
async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const probe = net.createServer();
    const isFree = await new Promise((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => probe.close(resolve));
    return port;
  }
}

/**
 * The wire of clients that speak WebSocket: they are given `WebSocket`, which looks at the messages.
 *
 * `subscribed` tells of each subscription as the server has it, `received` of each message, `closed` of
 * each socket's close code.
 */
export class Sockets {
  subscribed = new Events();
  received = new Events();
  closed = new Events();

  static async start(server) {
    return new Sockets(server);
  }

  constructor(server) {
    const wire = this;
    this.url = server.url.replace("http", "ws");
    this.WebSocket = class extends WebSocket {
      operations = new Map();

      constructor(...args) {
        super(...args);
        this.on("message", (data) => {
          const message = JSON.parse(data);
          wire.received.next(message);
          this.operations.get(message.id)?.messages.push(message);
        });
        this.on("close", wire.closed.next);
      }

      send(data, ...args) {
        super.send(data, ...args);
        const { type, id, payload } = JSON.parse(data);
        if (["subscribe", "start"].includes(type) && /^\s*subscription\b/.test(payload.query)) {
          const operation = { messages: [] };
          operation.ended = new Promise((resolve) => (operation.end = resolve));
          this.operations.set(id, operation);
          // A pong says that the server has read what came before the ping.
          this.once("pong", () => wire.subscribed.next(operation));
          this.ping();
        }
        if (["complete", "stop"].includes(type)) this.operations.get(id)?.end();
      }
    };
  }

  async end() {}
}

/**
 * The wire of clients that stream over HTTP: a proxy in front of the server.
 *
 * `subscribed` tells of each streamed response that began. It has `ended` when the server has closed
 * the connection after the client left.
 */
export class Streams {
  subscribed = new Events();
  #sockets = new Set();
  #proxy;

  static async start(server) {
    const wire = new Streams(server);
    await once(wire.#proxy, "listening");
    return wire;
  }

  constructor(server) {
    this.#proxy = net.createServer({ allowHalfOpen: true }, (client) => {
      const upstream = net.connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
      for (const socket of [client, upstream]) this.#sockets.add(socket);
      const ended = new Promise((resolve) => upstream.once("end", resolve));
      let isAsked = false;
      client.on("data", (bytes) => (isAsked ||= /subscription\b.*Watch\b/.test(bytes)));
      upstream.on("data", (bytes) => {
        if (isAsked && /^content-type: (text\/event-stream|multipart\/mixed)/im.test(bytes)) {
          this.subscribed.next({ ended, messages: [] });
          isAsked = false;
        }
      });
      client.pipe(upstream).on("error", () => client.destroy());
      upstream.pipe(client).on("error", () => upstream.end());
      // What the server sent before it knew would keep its end from being seen: nothing is read any more.
      client.once("close", () => upstream.resume());
    });
    this.#proxy.listen(0, "127.0.0.1");
  }

  get url() {
    return `http://127.0.0.1:${this.#proxy.address().port}/graphql`;
  }

  async end() {
    for (const socket of this.#sockets) socket.destroy();
    this.#proxy.close();
    await once(this.#proxy, "close");
  }
}
