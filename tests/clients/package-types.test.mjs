// The package as npm makes it: its types fit those of the libraries, and its entry points load with `import` and with `require`.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { suite, test } from "node:test";
import { promisify } from "node:util";

import { build } from "esbuild";

const run = promisify(execFile);
const here = import.meta.dirname;
const ENTRIES = {
  titlecast: ["Titlecast", "TitlecastError"], "titlecast/ai": ["titlecastTransport"], "titlecast/assistant-ui": ["titlecastThreads"],
  "titlecast/apollo": ["applyConversationUpdate", "newestConversations"],
  "titlecast/urql": ["applyConversationUpdate", "newestConversations"],
  "titlecast/react": ["useConversations", "useReply"],
};

suite("types", { concurrency: 2 }, () => {
  for (const version of ["ai5", "ai6", "ai7"]) {
    test(`with ${version}`, async () => {
      const folder = mkdtempSync(path.join(here, ".types-"));
      const compilerOptions = {
        target: "es2023", lib: ["es2023", "dom", "dom.iterable", "dom.asynciterable"], jsx: "react-jsx",
        module: "esnext", moduleResolution: "bundler", strict: true, skipLibCheck: true, noEmit: true, types: [], paths: { ai: [path.join(here, "node_modules", version)] },
      };
      writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["../types/package.ts"] }));
      try {
        await run(process.execPath, [path.join(here, "node_modules/typescript/bin/tsc"), "--project", folder]);
      } catch ({ stdout }) {
        assert.fail(stdout);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
});

test("each entry point has its names, by import", async () => {
  for (const [entry, names] of Object.entries(ENTRIES)) assert.deepEqual(Object.keys(await import(entry)).sort(), names, entry);
});

// Without a flag from 20.19 and 22.12 on.
const [major, minor] = process.versions.node.split(".").map(Number);
const canRequire = major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
test("each entry point has its names, by require", { skip: !canRequire }, () => {
  const require = createRequire(import.meta.url);
  for (const [entry, names] of Object.entries(ENTRIES)) assert.deepEqual(Object.keys(require(entry)).sort(), names, entry);
});

test("no entry point imports a library but React", async () => {
  const sources = path.join(here, "../../clients/js/src");
  for (const file of readdirSync(sources).filter((name) => name.endsWith(".js"))) {
    const imported = [...readFileSync(path.join(sources, file), "utf8").matchAll(/from "([^."][^"]*)"/g)].map(([, name]) => name);
    assert.deepEqual(imported, file === "react.js" ? ["react"] : [], file);
  }
});

test("a bundle has what it uses, and nothing of the other entry points", async () => {
  const inputs = async (contents) => {
    const stdin = { contents, resolveDir: here };
    const { metafile } = await build({ stdin, bundle: true, write: false, metafile: true, format: "esm", external: ["react"] });
    const [{ inputs }] = Object.values(metafile.outputs);
    const used = Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
    return used.map(([file]) => path.basename(file)).filter((name) => name !== "<stdin>").sort();
  };
  assert.deepEqual(await inputs('export { titlecastTransport } from "titlecast/ai"'), ["access.js", "ai.js", "error.js", "replay.js", "ui-messages.js"]);
  assert.deepEqual(await inputs('export { newestConversations } from "titlecast/apollo"'), ["newest.js"]);
  assert.deepEqual(await inputs('export { TitlecastError } from "titlecast"'), ["error.js"]);
  assert.deepEqual(await inputs('export { useReply } from "titlecast/react"'), ["error.js", "react.js", "reply-text.js", "watched.js"]);
});
