// A client generated from /openapi.json, compiled strictly and used against the server.

import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";

import openapiTS, { astToString } from "openapi-typescript";

import { Server } from "./support.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

test("a generated client compiles, and does what its types say", async (t) => {
  const server = await Server.start();
  t.after(() => server.end());
  const folder = here(".cache/openapi/");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const types = await openapiTS(new URL("/openapi.json", server.url));
  writeFileSync(`${folder}titlecast.d.ts`, astToString(types));
  copyFileSync(here("openapi/use.ts"), `${folder}use.ts`);

  const options = "--strict --noUncheckedIndexedAccess --target es2022 --module nodenext --skipLibCheck --lib es2023,dom";
  const tsc = here("node_modules/typescript/bin/tsc");
  const compile = promisify(execFile)(process.execPath, [tsc, ...options.split(" "), "use.ts"], { cwd: folder });
  await compile.catch(({ stdout }) => {
    throw new Error(stdout);
  });
  const { use } = await import(pathToFileURL(`${folder}use.js`));
  await use(new URL("/", server.url).origin);
});
