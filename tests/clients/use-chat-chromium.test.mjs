// `useChat` in Chromium, versions 5 to 7 of the SDK, from a page of another origin, with the SDK's own transport and with that of the
// package: send, title, resume after a reload, stop, regenerate, edit.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, suite, test } from "node:test";

import { build } from "esbuild";
import { chromium } from "playwright-core";

import { Server, startModel } from "./support.mjs";

const DEADLINE_MS = 15_000;

/** The page: a component that shows nothing, and leaves what `useChat` returns where the test finds it. */
const source = (version) => `
  import { createElement } from "react";
  import { createRoot } from "react-dom/client";
  import { useChat } from "ai-react${version}";
  import { DefaultChatTransport } from "ai${version}";
  import { titlecastTransport } from "titlecast/ai";

  const { url, kind, id } = Object.fromEntries(new URLSearchParams(location.search));
  const own = titlecastTransport({ url });
  const transport = kind === "titlecast" ? own : new DefaultChatTransport({ api: url + "/api/v1/ui/chat" });
  window.data = [];
  window.stop = () => own.stop(id);
  function Chat({ messages }) {
    window.chat = useChat({ id, messages, transport, resume: true, onData: (part) => window.data.push(part) });
    return null;
  }
  own.history(id).then((messages) => createRoot(document.body).render(createElement(Chat, { messages })));
`;

let browser, model, server, site;
const scripts = {};
before(async () => {
  model = await startModel(0.01);
  site = http.createServer((request, response) => {
    const script = scripts[request.url.slice(1)];
    response.setHeader("content-type", script ? "text/javascript" : "text/html");
    const { searchParams } = new URL(request.url, "http://127.0.0.1");
    response.end(script ?? `<!doctype html><link rel="icon" href="data:,"><body><script src="/${searchParams.get("version")}"></script>`);
  });
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  const origin = `http://127.0.0.1:${site.address().port}`;
  server = await Server.start({ ...model.settings, TITLECAST_LOG: "off", TITLECAST_ALLOWED_ORIGINS: origin });
  const args = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
  for (const version of ["5", "6", "7"]) {
    const stdin = { contents: source(version), resolveDir: import.meta.dirname };
    const define = { "process.env.NODE_ENV": '"production"' };
    const { outputFiles } = await build({ stdin, define, bundle: true, write: false, logLevel: "error" });
    scripts[version] = outputFiles[0].text;
  }
});
after(async () => {
  await browser?.close();
  site.close();
  await server.end();
  model.end();
});

async function open(version, kind, id = crypto.randomUUID()) {
  const page = await browser.newPage();
  const params = new URLSearchParams({ url: new URL(server.url).origin, version, kind, id });
  await page.goto(`http://127.0.0.1:${site.address().port}/?${params}`);
  const text = (message) => message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  const one = {
    page,
    /** What the page has, as soon as it matches. */
    async until(matches, what) {
      for (const end = Date.now() + DEADLINE_MS; ; ) {
        const state = await page.evaluate(() => {
          const { messages, status, error } = window.chat ?? {};
          return { messages: messages ?? [], status, error: error?.message, data: window.data };
        });
        const now = { ...state, texts: state.messages.map(text), last: state.messages.at(-1) };
        if (matches(now)) return now;
        assert.ok(Date.now() < end, `no ${what}: ${JSON.stringify(now)}`);
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    },
    call: (name, ...args) => page.evaluate(([name, args]) => void window.chat[name](...args), [name, args]),
    whole: (count) => one.until((now) => now.status === "ready" && now.messages.length === count && now.last.metadata?.outcome, "whole reply"),
    writing: () => one.until((now) => now.last?.role === "assistant" && now.texts.at(-1).length > 10, "text of a reply"),
  };
  // Version 5.0.0 stays "submitted" if there is nothing to resume.
  await one.until((now) => now.status === "ready" || (version === "5" && now.status === "submitted"), "chat");
  return one;
}

for (const version of ["5", "6", "7"]) {
  for (const kind of ["sdk", "titlecast"]) {
    suite(`version ${version}, the transport of ${kind}`, { concurrency: true }, () => {
      test("send, title, another reply, another text", async () => {
        const one = await open(version, kind);
        await one.call("sendMessage", { text: "Prune a tree in 10 words" });
        const first = await one.whole(2);
        const title = first.data.find(({ type }) => type === "data-conversation-title");
        assert.match(title.data.title, /^Trees and Tools/);
        await one.call("regenerate");
        const again = await one.until((now) => now.status === "ready" && now.last.id !== first.last.id && now.last.metadata?.outcome, "another reply");
        assert.equal(again.messages.length, 2);
        await one.call("sendMessage", { text: "Prune a hedge in 12 words", messageId: first.messages[0].id });
        const edited = await one.until((now) => now.status === "ready" && now.texts[0].includes("hedge") && now.texts[1] && now.last.metadata?.outcome, "edit");
        assert.deepEqual([edited.messages.length, edited.error], [2, undefined]);
        await one.page.reload();
        const stored = await one.until((now) => now.messages.length === 2, "what is stored");
        assert.deepEqual(stored.texts, edited.texts);
        await one.page.close();
      });

      test("a reload in the middle of a reply, and a stop", async () => {
        const one = await open(version, kind);
        await one.call("sendMessage", { text: "Prune a tree in 300 words" });
        const before = await one.writing();
        await one.page.reload();
        const resumed = await one.until((now) => now.texts[1]?.length > before.texts[1].length, "text after the reload");
        assert.ok(resumed.texts[1].startsWith(before.texts[1]), "from its beginning, once");
        assert.equal(await one.page.evaluate(() => window.stop()), true);
        const stopped = await one.whole(2);
        assert.equal(stopped.last.metadata.outcome, "stopped");
        await one.page.close();
      });
    });
  }
}
