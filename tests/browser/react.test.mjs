// The React example as a person uses it, with a model that says only what the test lets it say: live titles, a streamed reply, a
// reload and a restart of the server in its middle, stop, regenerate, rename, search, archive.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Model, Server, launch, picture, seen, until, withTabs } from './support.mjs';

const EXAMPLE = fileURLToPath(new URL('../../examples/react', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

let browser;
let model;
let server;
let site;

before(async () => {
  const run = (...args) => execFileSync('npm', args, { cwd: EXAMPLE, stdio: ['ignore', 'ignore', 'inherit'] });
  run('ci', '--silent', '--prefer-offline');
  run('run', 'build', '--silent', '--', '--logLevel', 'error');
  [browser, model] = await Promise.all([launch(), Model.start()]);
  server = await Server.start({ ...model.settings, TITLECAST_REPLY_LEASE: '3s' });
  site = await serve();
});

after(async () => {
  await browser?.close();
  site?.close();
  await server?.end();
  model?.end();
});

/** The built page and the API under one origin, as behind a proxy. */
async function serve() {
  const { port, hostname: host } = new URL(server.url);
  const proxy = http.createServer(async (request, response) => {
    if (/^\/(api|graphql)/.test(request.url)) {
      const { method, headers, url } = request;
      const there = http.request({ host, port, path: url, method, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
        answer.on('error', () => response.destroy());
      });
      there.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
      response.on('close', () => there.destroy());
      request.pipe(there);
      return;
    }
    const file = path.join(EXAMPLE, 'dist', request.url === '/' ? 'index.html' : request.url);
    response.setHeader('content-type', TYPES[path.extname(file)] ?? 'text/plain');
    response.end(await readFile(file));
  });
  proxy.on('upgrade', (request, socket) => {
    const there = net.connect(port, host);
    const lines = [`GET ${request.url} HTTP/1.1`];
    for (let index = 0; index < request.rawHeaders.length; index += 2) {
      lines.push(`${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}`);
    }
    there.write(`${lines.join('\r\n')}\r\n\r\n`);
    for (const one of [socket, there]) one.on('error', () => (socket.destroy(), there.destroy()));
    socket.pipe(there).pipe(socket);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const { port: own } = proxy.address();
  const close = () => (proxy.closeAllConnections(), proxy.close());
  return { url: `http://127.0.0.1:${own}/`, close };
}

const parts = (page) => ({
  rows: page.locator('ul[aria-label=All] li'),
  first: page.locator('ul[aria-label=All] li button').first(),
  log: page.getByRole('log', { name: 'Messages' }),
  field: page.getByRole('textbox', { name: 'Message' }),
  button: (name) => page.getByRole('button', { name, exact: true }),
});
const send = async (page, text) => {
  await parts(page).field.fill(text);
  await page.keyboard.press('Enter');
};
const texts = (page) => page.locator('[role=log] p').allTextContents();
const shows = (page, ...expected) =>
  until(async () => JSON.stringify(await texts(page)) === JSON.stringify(expected), `messages ${expected}`);
// While the server is away the browser complains about each connection.
const expected = /WebSocket|Failed to load resource|ERR_/;

test('a person talks, reloads, restarts the server, stops, writes anew, renames, searches and archives', async () => {
  await withTabs(browser, async (open) => {
    const page = await open(site.url);
    const { first, rows, button, log } = parts(page);
    await parts(page).field.waitFor();

    await send(page, 'Plan a trip to Kyoto in April');
    let reply = await model.reply();
    reply.say('Start with ');
    await shows(page, 'Plan a trip to Kyoto in April', 'Start with ');
    await model.title('Plan a Trip to Kyoto');
    await seen(first, /^Plan a Trip to Kyoto$/);
    await seen(page.getByRole('heading'), /^Plan a Trip to Kyoto$/);

    await page.reload();
    await shows(page, 'Plan a trip to Kyoto in April', 'Start with ');
    reply.say('the temples.');
    await shows(page, 'Plan a trip to Kyoto in April', 'Start with the temples.');
    const other = await open(page.url());
    await shows(other, 'Plan a trip to Kyoto in April', 'Start with the temples.');
    reply.end();
    await button('Send').waitFor();

    await send(page, 'And in May?');
    reply = await model.reply();
    reply.say('The gardens');
    await seen(log, /The gardens$/);
    await server.kill();
    await server.back();
    await seen(page.getByRole('note'), /^This reply is incomplete\.$/);
    await seen(log, /The gardens$/);

    await button('Regenerate').click();
    reply = await model.reply();
    reply.say('The irises, ');
    await seen(log, /The irises,\s*$/);
    await button('Stop').click();
    await seen(page.getByRole('note'), /^This reply is stopped\.$/);
    await button('Regenerate').click();
    reply = await model.reply();
    reply.say('The irises bloom.');
    reply.end();
    await button('Send').waitFor();
    await shows(page, 'Plan a trip to Kyoto in April', 'Start with the temples.', 'And in May?', 'The irises bloom.');
    await picture(page, 'react');

    await button('New chat').click();
    await shows(page);
    await send(page, 'Plan a trip to Oslo');
    reply = await model.reply();
    reply.say('Take a boat.');
    reply.end();
    await model.title('Plan a Trip to Oslo');
    await seen(first, /^Plan a Trip to Oslo$/);
    assert.equal(await rows.count(), 2);

    await page.getByTitle('Rename').first().click();
    await page.getByRole('textbox', { name: 'Title' }).fill('Norway');
    await page.keyboard.press('Enter');
    for (const tab of [page, other]) await seen(parts(tab).first, /^Norway$/);
    await page.getByTitle('New title').first().click();
    await model.title('Boats of Oslo');
    for (const tab of [page, other]) await seen(parts(tab).first, /^Boats of Oslo$/);

    await page.getByRole('searchbox').fill('irises');
    await page.keyboard.press('Enter');
    await page.locator('ul[aria-label=Found] button').click();
    await seen(log, /The irises bloom\.$/);
    await page.getByRole('searchbox').fill('');
    await page.keyboard.press('Enter');

    await page.getByTitle('Archive').first().click();
    for (const tab of [page, other]) await until(async () => (await parts(tab).rows.count()) === 1, 'one conversation');
    await seen(first, /^Plan a Trip to Kyoto$/);
  }, { expected });
});
