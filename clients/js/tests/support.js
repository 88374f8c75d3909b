// Starts and stops what the tests talk to: a server with a database of its own, and the scripted model.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import readline from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const BINARY = process.env.TITLECAST_BIN ?? fileURLToPath(new URL("../../../target/debug/titlecast", import.meta.url));
const MODEL = fileURLToPath(new URL("../../testing/model.py", import.meta.url));
const DEADLINE_MS = 10_000;
const MESSAGES = `query ($id: String!) { conversation(externalId: $id) { id displayName titleStatus messages(first: 50) { nodes {
  id role content outcome inReplyTo model parts { __typename ... on ToolPart { callId name arguments result state } } } } } }`;

export async function startModel(pace = 0.005) {
  const child = spawn("python3", ["-B", MODEL, String(pace)], { stdio: ["ignore", "pipe", "inherit"] });
  const [url] = await once(readline.createInterface(child.stdout), "line");
  return { url, end: () => child.kill() };
}

/** A reply's stream as a provider sends it. */
export function chat(model, content, more = {}) {
  const body = JSON.stringify({ model: "scripted", stream: true, messages: [{ role: "user", content }], ...more });
  return fetch(`${model.url}/chat/completions`, { method: "POST", body });
}

/** `settings` are of its environment. */
export async function startServer(flags = [], settings = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "titlecast-packages-"));
  const port = await freePort();
  const { OPENAI_API_KEY, OPENAI_BASE_URL, ...env } = process.env;
  const database = `sqlite://${path.join(folder, "titlecast.db")}?mode=rwc`;
  const listen = ["--listen", `127.0.0.1:${port}`, "--metrics-listen", "127.0.0.1:0", "--database-url", database];
  const child = spawn(BINARY, [...listen, ...flags], {
    env: { ...env, TITLECAST_LOG: "error", ...settings },
    stdio: ["ignore", "inherit", "inherit"],
  });
  process.once("exit", () => child.kill("SIGKILL"));
  const server = {
    port,
    url: `http://127.0.0.1:${port}`,
    async ask(query, variables, token) {
      const headers = { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) };
      const response = await fetch(`${server.url}/graphql`, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
      const { data, errors } = await response.json();
      if (errors) throw new Error(JSON.stringify(errors));
      return data;
    },
    /** By the id that the agent gave it. */
    conversation: async (id, token) => (await server.ask(MESSAGES, { id }, token)).conversation,
    messages: async (id, token) => (await server.conversation(id, token))?.messages.nodes,
    token(user, scopes) {
      const command = ["token", "--tenant", "acme", "--user", user, "--scopes", scopes];
      return execFileSync(BINARY, command, { env: { ...env, ...settings }, encoding: "utf8" }).trim();
    },
    async end() {
      child.kill("SIGKILL");
      await once(child, "exit");
      rmSync(folder, { recursive: true });
    },
  };
  await until(async () => (await fetch(`${server.url}/readyz`).catch(() => null))?.ok, "a server that is ready");
  return server;
}

export async function until(condition, what) {
  for (const end = Date.now() + DEADLINE_MS; ; ) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`no ${what} in ${DEADLINE_MS} ms`);
    await delay(20);
  }
}

/** A line to the server: it cuts each of the first `cuts` uploads after some bytes. */
export async function startLine(port, cuts) {
  const line = { left: cuts, cuts: 0 };
  const proxy = net.createServer((client) => {
    const there = net.connect(port, "127.0.0.1");
    let rest = Infinity;
    const end = () => (client.destroy(), there.destroy());
    for (const socket of [client, there]) socket.on("error", end).on("close", end);
    client.on("data", (bytes) => {
      if (rest === Infinity && line.left > 0 && bytes.includes("/replies?")) {
        line.left -= 1;
        rest = 300 + Math.floor(Math.random() * 1200);
      }
      if ((rest -= bytes.length) < 0) {
        line.cuts += 1;
        return end();
      }
      there.write(bytes);
    });
    there.on("data", (bytes) => client.write(bytes));
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  line.url = `http://127.0.0.1:${proxy.address().port}`;
  line.end = () => proxy.close();
  return line;
}

/** A server whose agent "desk" keeps no texts beyond the title; "triage", the default, keeps them. */
export async function startDesk() {
  const folder = mkdtempSync(path.join(tmpdir(), "titlecast-packages-"));
  const config = path.join(folder, "titlecast.toml");
  const triage = 'default_agent = "triage"\n[agents.triage]\nsource = "external"\n';
  writeFileSync(config, `${triage}[agents.desk]\nsource = "external"\nretain = "until_titled"\n`);
  const server = await startServer(["--config", config]);
  return { ...server, end: async () => (await server.end(), rmSync(folder, { recursive: true })) };
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
