import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The server at TITLECAST_URL, or one that runs TITLECAST_BIN on a new database until `stop`. */
export async function start() {
  const { TITLECAST_URL: url, TITLECAST_BIN: bin } = process.env;
  if (url) return { url: new URL("/graphql", url), stop: async () => {} };

  const built = fileURLToPath(new URL("../../target/debug/titlecast", import.meta.url));
  const folder = await mkdtemp(join(tmpdir(), "titlecast-schema-"));
  const database = `sqlite://${join(folder, "titlecast.db")}?mode=rwc`;
  // Without a key the offline model answers. The caller's environment does not reach the server.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(OPENAI|TITLECAST)_/.test(name)),
  );
  const server = spawn(
    bin || built,
    ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--database-url", database],
    { env, stdio: ["ignore", "ignore", "pipe"] },
  );
  const ended = new Promise((resolve) => server.once("close", resolve));
  const stop = async () => {
    server.kill();
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const address = await listening(server);
    return { url: new URL(`http://${address}/graphql`), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function listening(server) {
  return new Promise((resolve, reject) => {
    const log = [];
    const fail = (why) => reject(new Error(`${why}\n${log.join("\n")}`));
    const timer = setTimeout(() => fail("the server did not listen within 30 s"), 30_000);
    server.once("error", (error) => {
      clearTimeout(timer);
      fail(error.message);
    });
    const lines = createInterface({ input: server.stderr });
    lines.on("line", (line) => {
      log.push(line);
      const address = /listening.*?address=(127\.0\.0\.1:\d+)/.exec(line)?.[1];
      if (!address) return;
      clearTimeout(timer);
      resolve(address);
    });
    lines.once("close", () => {
      clearTimeout(timer);
      fail("the server ended");
    });
  });
}
