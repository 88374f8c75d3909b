// A browser that reaches no other host, the server, and a model that says what a test lets it say.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const BINARY = process.env.TITLECAST_BIN ?? fileURLToPath(new URL('../../target/debug/titlecast', import.meta.url));
const DEADLINE_MS = 15_000;
export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 400, height: 800 };

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });

/**
 * Runs `use` with what opens tabs of one browser profile, and fails if a page complained or spoke to another host.
 * `expected` matches the complaints that belong to the test; `answers` has what other hosts answer, as files by their URL;
 * null is no answer. `others` has origins that pages may speak to besides their own.
 */
export async function withTabs(browser, use, { expected, answers = {}, others = [], ...options } = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  context.setDefaultTimeout(DEADLINE_MS);
  const complaints = [];
  const strangers = [];
  const hosts = new Set(others.map((url) => new URL(url).host));
  const visit = (url) => {
    const { protocol, host } = new URL(url);
    if (!/^(data|blob):$/.test(protocol) && !hosts.has(host) && !(url in answers)) strangers.push(url);
  };
  for (const [url, file] of Object.entries(answers)) {
    const headers = { 'access-control-allow-origin': '*' };
    await context.route(url, (route) => (file ? route.fulfill({ path: file, headers }) : route.abort()));
  }
  context.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  context.on('weberror', (error) => complaints.push(error.error().stack));
  context.on('request', (request) => visit(request.url()));
  context.on('page', (page) => page.on('websocket', (socket) => visit(socket.url())));
  try {
    await use(async (url) => {
      hosts.add(new URL(url).host);
      const page = await context.newPage();
      await page.goto(url);
      return page;
    });
    assert.deepEqual(complaints.filter((text) => !expected?.test(text)), []);
    assert.deepEqual(strangers, []);
  } finally {
    await context.close();
  }
}

/** The same with one tab. */
export const withPage = (browser, url, use, options) =>
  withTabs(browser, async (open) => use(await open(url)), options);

/** SCREENSHOTS=<folder> keeps pictures. */
export const picture = (page, name) =>
  process.env.SCREENSHOTS && page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });

/** What axe finds to keep people out. */
export async function violations(page) {
  // Over the protocol, not by a script element: the pages' policy allows none.
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => axe.run());
  assert.ok(passes.length > 10);
  return violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]);
}

/** Waits for what `look` returns to be true. */
export async function until(look, what) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < deadline, `not within ${DEADLINE_MS} ms: ${typeof what === 'function' ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits for the text of an element to match. */
export async function seen(locator, pattern) {
  let text;
  const look = async () => {
    // Monaco puts no-break spaces between words.
    text = (await locator.innerText()).replaceAll('\u00a0', ' ');
    return pattern.test(text);
  };
  await until(look, () => `${pattern} in: ${text}`);
  return text;
}

/** The server's process, with a database of its own; without a model's URL the offline model answers. */
export class Server {
  #folder = mkdtempSync(path.join(tmpdir(), 'titlecast-browser-'));
  #settings;
  #process;

  static async start(settings = {}) {
    const server = new Server();
    server.#settings = settings;
    await server.#spawn('127.0.0.1:0');
    return server;
  }

  async #spawn(listen) {
    const { OPENAI_API_KEY, OPENAI_BASE_URL, ...env } = process.env;
    const database = `sqlite://${this.#folder}/titlecast.db?mode=rwc`;
    this.#process = spawn(BINARY, ['--listen', listen, '--metrics-listen', '127.0.0.1:0', '--database-url', database], {
      env: { ...env, TITLECAST_LOG: 'info', ...this.#settings },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const child = this.#process;
    process.once('exit', () => child.kill('SIGKILL'));
    for await (const line of createInterface({ input: child.stderr })) {
      const [address] = /(?<=listening.*address=)[\d.:]+/.exec(line) ?? [];
      if (!address) continue;
      child.stderr.resume();
      this.url = `http://${address}`;
      return;
    }
    throw new Error('the server ended before it listened');
  }

  /** Breaks all connections, as a crash does; `back` starts it on the same port and database. */
  async kill() {
    this.#process.kill('SIGKILL');
    await once(this.#process, 'exit');
  }

  back() {
    return this.#spawn(new URL(this.url).host);
  }

  async end() {
    if (this.#process.exitCode === null && !this.#process.signalCode) await this.kill();
    rmSync(this.#folder, { recursive: true });
  }

  /** Executes an operation. */
  async graphql(query, variables) {
    const response = await fetch(`${this.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = await response.json();
    assert.equal(errors, undefined);
    return data;
  }
}

/** A server that speaks Chat Completions: each answer waits until the test says it. */
export class Model {
  #server = http.createServer((request, response) => this.#answer(request, response));
  #waiting = { reply: [], title: [] };

  static async start() {
    const model = new Model();
    model.#server.listen(0, '127.0.0.1');
    await once(model.#server, 'listening');
    model.settings = {
      OPENAI_BASE_URL: `http://127.0.0.1:${model.#server.address().port}/v1`,
      TITLECAST_TITLE_CHECK: 'false',
    };
    return model;
  }

  async #answer(request, response) {
    let body = '';
    for await (const chunk of request) body += chunk;
    const asked = JSON.parse(body);
    this.#waiting[asked.stream ? 'reply' : 'title'].push(response);
  }

  async #next(kind) {
    await until(() => this.#waiting[kind].length, `the model was asked for a ${kind}`);
    return this.#waiting[kind].shift();
  }

  /** Answers the next request for a title; with a status, one that fails. */
  async title(content, status = 200) {
    const response = await this.#next('title');
    response.writeHead(status, { 'content-type': 'application/json' });
    const choices = [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content } }];
    response.end(JSON.stringify(status === 200 ? { id: 'a', model: 'm', choices } : { error: { message: content } }));
  }

  /** The next reply: `say` sends more of it, `end` ends it. */
  async reply() {
    const response = await this.#next('reply');
    const send = (choice) => response.write(`data: ${JSON.stringify({ id: 'a', choices: [{ index: 0, ...choice }] })}\n\n`);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    return {
      say: (content) => send({ delta: { content } }),
      end: () => {
        send({ delta: {}, finish_reason: 'stop' });
        response.end('data: [DONE]\n\n');
      },
    };
  }

  /** Refuses the next request for a reply. */
  async refuse() {
    const response = await this.#next('reply');
    response.writeHead(400, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: { message: 'no', type: 'invalid_request_error' } }));
  }

  end() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
