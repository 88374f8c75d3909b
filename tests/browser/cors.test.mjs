// Pages of another origin, in a browser: what an allowed one may send and read, and what another one gets.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, test } from 'node:test';

import { Model, Server, launch, until, withPage } from './support.mjs';

let browser;
let model;
let server;
let app;
let stranger;

/** A web server of one empty page: its port makes it an origin. */
async function origin() {
  const pages = http.createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end('<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>App</title>');
  });
  pages.listen(0, '127.0.0.1');
  await once(pages, 'listening');
  return { url: `http://127.0.0.1:${pages.address().port}`, end: () => (pages.closeAllConnections(), pages.close()) };
}

before(async () => {
  [browser, model, app, stranger] = await Promise.all([launch(), Model.start(), origin(), origin()]);
  server = await Server.start({ ...model.settings, TITLECAST_ALLOWED_ORIGINS: `https://app.example,${app.url}` });
});

after(async () => {
  await browser?.close();
  await server?.end();
  model?.end();
  app?.end();
  stranger?.end();
});

/** Runs `use` with the page of an origin and functions that run in it; `api` is the server it speaks to. */
const from = (page, use, { api = server, ...options } = {}) =>
  withPage(browser, page.url, async (tab) => {
    // The status, headers and text of a response; what a failed fetch says.
    const ask = (path, request) =>
      tab.evaluate(
        async ([url, request]) => {
          try {
            const response = await fetch(url, request);
            return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
          } catch (error) {
            return { failed: error.name };
          }
        },
        [api.url + path, request],
      );
    await use(ask, tab);
  }, { others: [api.url], ...options });

const json = { 'content-type': 'application/json' };
const post = (body, headers = {}) => ({ method: 'POST', headers: { ...json, ...headers }, body: JSON.stringify(body) });

// As the SDKs send them: @sentry/browser, OpenTelemetry, @datadog/browser-rum, @apollo/client, `ai`.
const CLIENTS = {
  sentry: {
    'sentry-trace': '771a43a4192642f0b136d5159a501700-7d0e2b2e8b1f4c55-1',
    baggage: 'sentry-environment=production,sentry-public_key=a,sentry-trace_id=771a43a4192642f0b136d5159a501700',
  },
  opentelemetry: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'app=1', b3: '0' },
  datadog: {
    'x-datadog-origin': 'rum',
    'x-datadog-parent-id': '1234567890',
    'x-datadog-sampling-priority': '1',
    'x-datadog-tags': '_dd.p.tid=640cfd8d00000000',
    'x-datadog-trace-id': '9876543210',
  },
  apollo: {
    'apollographql-client-name': 'web',
    'apollographql-client-version': '1.0',
    'apollo-require-preflight': 'true',
    'x-apollo-operation-name': 'List',
    'x-apollo-operation-id': 'a',
  },
  'ai sdk': { 'user-agent': 'ai-sdk/7.0.0 runtime/browser', 'x-requested-with': 'fetch' },
  ours: { authorization: 'Bearer a', 'idempotency-key': 'key', 'last-event-id': 'a.1' },
};

for (const [client, headers] of Object.entries(CLIENTS)) {
  test(`an allowed page sends the headers of ${client}`, async () => {
    await from(app, async (ask) => {
      const query = 'query List { conversations { nodes { id } } }';
      const graphql = await ask('/graphql', post({ query }, headers));
      assert.deepEqual([graphql.status, JSON.parse(graphql.text).errors], [200, undefined]);
      const list = await ask('/api/v1/conversations', { headers });
      assert.equal(list.status, 200);
      // The answer of a request that changes nothing here, but would need a preflight by its method.
      const id = '01a205fb-13bf-7536-8470-c9b9b2fa28c3';
      const rename = { method: 'PATCH', headers: { ...json, ...headers }, body: '{"display_name": "A"}' };
      const renamed = await ask(`/api/v1/conversations/${id}/title`, rename);
      assert.deepEqual([renamed.status, JSON.parse(renamed.text).code], [404, 'NOT_FOUND']);
      assert.equal((await ask(`/api/v1/conversations/${id}`, { method: 'DELETE', headers })).status, 204);
    }, { expected: /404/ });
  });
}

test('headers for services reach their check, whose answer is readable', async () => {
  await from(app, async (ask) => {
    const headers = { 'Titlecast-On-Behalf-Of': 'ada', 'Titlecast-Tenant': 'acme' };
    const { status, text } = await ask('/api/v1/conversations', { headers });
    assert.deepEqual([status, JSON.parse(text).code], [403, 'FORBIDDEN']);
  }, { expected: /403/ });
});

/** Starts a POST in the page whose stream grows in `window.heard`. */
const stream = (tab, path, body, headers = {}) =>
  tab.evaluate(
    async ([url, request]) => {
      window.heard = '';
      const response = await fetch(url, request);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      window.reading = (async () => {
        for (let part; !(part = await reader.read()).done; ) window.heard += part.value;
        window.heard += 'END';
      })();
      return { status: response.status, headers: Object.fromEntries(response.headers) };
    },
    [server.url + path, post(body, headers)],
  );
const hears = (tab, pattern) => until(async () => pattern.test(await tab.evaluate(() => window.heard)), `the page heard ${pattern}`);

const WIRES = {
  '/api/v1/ui/chat': {
    body: (text) => ({ id: 'chat-of-a-page-00', trigger: 'submit-message', messages: [{ id: 'm1', role: 'user', parts: [{ type: 'text', text }] }] }),
    headers: { 'user-agent': 'ai-sdk/7.0.0' },
    exposes: { 'x-vercel-ai-ui-message-stream': 'v1' },
    last: /"type":"finish"[^]*\[DONE\]\s*END$/,
  },
  '/api/v1/agui': {
    body: (text) => ({ threadId: 'thread-of-a-page', runId: 'run-1', messages: [{ id: 'm1', role: 'user', content: text }], tools: [], context: [], state: {}, forwardedProps: {} }),
    headers: { accept: 'text/event-stream' },
    last: /"RUN_FINISHED"[^]*END$/,
  },
  '/api/v1/chat/stream': { body: (message) => ({ message }), headers: { 'idempotency-key': 'a-1' }, last: /"is_terminal":true[^]*END$/ },
};

for (const [path, { body, headers, exposes = {}, last }] of Object.entries(WIRES)) {
  test(`an allowed page reads the stream of ${path} as it grows`, async () => {
    await from(app, async (_, tab) => {
      const begun = await stream(tab, path, body('How is salt made?'), { ...headers, ...CLIENTS.sentry });
      assert.equal(begun.status, 200);
      assert.match(begun.headers['content-type'], /^text\/event-stream/);
      for (const [name, value] of Object.entries(exposes)) assert.equal(begun.headers[name], value);
      const reply = await model.reply();
      reply.say('From the sea.');
      await hears(tab, /From the sea\./);
      await model.title('How Salt Is Made');
      await hears(tab, /How Salt Is Made/);
      reply.end();
      await hears(tab, last);
    });
  });
}

const SUBSCRIPTION = 'subscription { conversationUpdated { id title } }';

for (const accept of ['multipart/mixed;subscriptionSpec=1.0, application/graphql-response+json', 'text/event-stream']) {
  test(`an allowed page subscribes over ${accept.split(/[;,]/)[0]}`, async () => {
    await from(app, async (ask, tab) => {
      const begun = await stream(tab, '/graphql', { query: SUBSCRIPTION }, { accept, ...CLIENTS.apollo });
      assert.equal(begun.status, 200);
      assert.ok(accept.startsWith(begun.headers['content-type'].split(';')[0]));
      const mutation = 'mutation { sendMessage(input: { text: "Why is snow white?", autoTitle: false }) { replyId } }';
      // A socket may not be subscribed yet; the row is published again with the reply.
      assert.equal((await ask('/graphql', post({ query: mutation }, CLIENTS.apollo))).status, 200);
      const reply = await model.reply();
      reply.say('So.');
      reply.end();
      await hears(tab, /Why is snow white\?/);
    });
  });
}

test('an allowed page listens by EventSource, and resumes', async () => {
  await from(app, async (ask, tab) => {
    const sent = ask('/api/v1/chat', post({ message: 'What is amber?', conversation_id: 'amber' }));
    const reply = await model.reply();
    await model.title('What Amber Is');
    const listen = (path) =>
      tab.evaluate((url) => {
        window.heard = '';
        window.source = new EventSource(url);
        source.onmessage = ({ data }) => { window.heard += data; };
        source.onerror = () => { window.heard += `ERROR ${source.readyState}`; };
      }, server.url + path);
    await listen('/api/v1/conversations/amber/stream');
    await hears(tab, /What Amber Is/);
    await tab.evaluate(() => source.close());
    await listen('/api/v1/conversations/amber/reply');
    reply.say('Old resin.');
    await hears(tab, /Old resin\./);
    reply.end();
    // The source reconnects with Last-Event-ID, gets 204, and stays closed.
    await hears(tab, /"is_terminal":true[^]*ERROR 2/);
    assert.equal((await sent).status, 200);
  });
});

const socket = (tab, url) =>
  tab.evaluate(
    ([url, query]) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url, 'graphql-transport-ws');
        socket.onopen = () => socket.send('{"type":"connection_init"}');
        socket.onmessage = ({ data }) => {
          const { type, payload } = JSON.parse(data);
          if (type === 'connection_ack') socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }));
          if (type === 'next') resolve(payload);
        };
        socket.onclose = ({ code }) => resolve({ code });
      }),
    [url.replace('http', 'ws') + '/graphql', '{ __typename }'],
  );

test('an allowed page speaks GraphQL over a WebSocket', async () => {
  await from(app, async (_, tab) => assert.deepEqual(await socket(tab, server.url), { data: { __typename: 'Query' } }));
});

test('an allowed page reads errors, and when to try again', async () => {
  const limits = { TITLECAST_MESSAGES_PER_MINUTE: '1', TITLECAST_CONNECTIONS_PER_ADDRESS: '1' };
  const tokens = { TITLECAST_JWT_SECRET: 'a-secret-of-enough-characters-for-hs256', TITLECAST_JWT_ISSUER: 'https://issuer.example', TITLECAST_JWT_AUDIENCE: 'titlecast' };
  const own = await Server.start({ ...model.settings, ...limits, TITLECAST_ALLOWED_ORIGINS: app.url });
  const guarded = await Server.start({ ...model.settings, ...tokens, TITLECAST_ALLOWED_ORIGINS: app.url });
  try {
    await from(app, async (ask) => {
      const send = (address) => ask('/api/v1/chat', post({ message: 'Hi', context: { auto_title: false } }, { 'x-forwarded-for': address }));
      const first = send('192.0.2.1');
      const reply = await model.reply();
      // Its connection is the only one that this address may have: the server refuses the next one before any route.
      const crowded = await send('192.0.2.1');
      assert.deepEqual([crowded.status, JSON.parse(crowded.text).code, crowded.headers['retry-after']], [429, 'RATE_LIMITED', '5']);
      reply.say('Hi.');
      reply.end();
      assert.equal((await first).status, 200);
      const many = await until(async () => {
        const refused = await send('192.0.2.1');
        return refused.headers['retry-after'] !== '5' && refused;
      }, 'the first connection ended');
      assert.deepEqual([many.status, JSON.parse(many.text).code], [429, 'RATE_LIMITED']);
      assert.match(many.headers['retry-after'], /^\d+$/);
    }, { api: own, expected: /429/ });
    await from(app, async (ask) => {
      const { status, headers } = await ask('/api/v1/conversations', { headers: { authorization: 'Bearer a' } });
      assert.equal(status, 401);
      assert.match(headers['www-authenticate'], /^Bearer/);
      const unsigned = await ask('/graphql', post({ query: '{ conversations { nodes { id } } }' }, { authorization: 'Bearer a' }));
      assert.match(unsigned.text, /UNAUTHENTICATED/);
    }, { api: guarded, expected: /401/ });
  } finally {
    await own.end();
    await guarded.end();
  }
});

test('a page of another origin reads nothing and changes nothing', async () => {
  await from(stranger, async (ask, tab) => {
    const failed = { failed: 'TypeError' };
    const body = JSON.stringify({ message: 'From a stranger' });
    for (const path of ['/api/v1/conversations', '/graphql?query=%7B__typename%7D', '/healthz', '/']) assert.deepEqual(await ask(path), failed, path);
    assert.deepEqual(await ask('/api/v1/chat', post({ message: 'From a stranger' })), failed);
    assert.deepEqual(await ask('/api/v1/ui/chat', post({ id: 'a', messages: [] }, CLIENTS.datadog)), failed);
    // Requests that need no preflight reach the server, which refuses them.
    for (const type of ['text/plain', 'application/x-www-form-urlencoded']) {
      const quiet = { method: 'POST', mode: 'no-cors', body, headers: { 'content-type': type } };
      assert.deepEqual(await ask('/api/v1/chat', quiet), { status: 0, headers: {}, text: '' });
    }
    await tab.evaluate(([url, body]) => navigator.sendBeacon(url, body), [`${server.url}/api/v1/chat`, body]);
    assert.deepEqual(await socket(tab, server.url), { code: 1006 });
    const state = await tab.evaluate(
      (url) => new Promise((resolve) => {
        const source = new EventSource(url);
        source.onerror = () => resolve(source.readyState);
      }),
      `${server.url}/api/v1/conversations/amber/stream`,
    );
    assert.equal(state, 2);
    const { conversations } = await server.graphql('{ conversations { nodes { title topicHint } } }');
    assert.doesNotMatch(JSON.stringify(conversations), /stranger/);
  }, { expected: /CORS|ERR_FAILED|403|WebSocket/ });
});

test('a preflight names what was asked for, for two hours, also from a public network', async () => {
  const names = Object.values(CLIENTS).flatMap(Object.keys);
  const preflight = (origin) =>
    fetch(`${server.url}/api/v1/ui/chat`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': names.join(','),
        'access-control-request-private-network': 'true',
      },
    });
  const allowed = await preflight(app.url);
  const header = (name) => allowed.headers.get(`access-control-${name}`);
  assert.equal(allowed.status, 200);
  assert.deepEqual(header('allow-headers').split(/, ?/), names);
  assert.equal(header('allow-origin'), app.url);
  assert.equal(header('allow-private-network'), 'true');
  assert.equal(header('max-age'), '7200');
  assert.deepEqual(header('allow-methods').split(','), ['GET', 'POST', 'PATCH', 'DELETE']);
  const refused = await preflight(stranger.url);
  assert.equal(refused.status, 403);
  assert.deepEqual([...refused.headers.keys()].filter((name) => name.startsWith('access-control-')), []);
});

test('a public page reaches a server on this machine if the user allows it', async () => {
  // An answer that comes from no address counts as public.
  const url = 'https://app.example/';
  for (const [permissions, expected] of [[[], 'TypeError'], [['local-network-access'], 200]]) {
    const context = await browser.newContext({ permissions });
    try {
      await context.route(url, (route) => route.fulfill({ body: '<!doctype html><title>App</title>', contentType: 'text/html' }));
      const tab = await context.newPage();
      await tab.goto(url);
      const reached = await tab.evaluate(
        ([url, headers]) => fetch(url, { headers }).then(({ status }) => status, ({ name }) => name),
        [`${server.url}/api/v1/conversations`, CLIENTS.opentelemetry],
      );
      assert.equal(reached, expected);
      assert.deepEqual(await socket(tab, server.url), permissions.length ? { data: { __typename: 'Query' } } : { code: 1006 });
    } finally {
      await context.close();
    }
  }
});
