// The explorer and GraphiQL as a person uses them, in a Chromium that reaches no other host.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { EXAMPLES } from '../../tools/graphiql/examples.js';
import { DESKTOP, PHONE, Server, launch, picture, seen, violations, withPage as withPageOf } from './support.mjs';

const execute = promisify(execFile);

const SEND_MESSAGE = EXAMPLES.find(({ query }) => query.includes('sendMessage')).query;

let browser;
let server;

before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});

after(async () => {
  await browser?.close();
  await server?.end();
});

const withPage = (path, use, options) => withPageOf(browser, server.url + path, use, options);

/** Begins a conversation with a message that no other test sends. */
async function send(text) {
  const { sendMessage } = await server.graphql(SEND_MESSAGE, { text });
  return sendMessage.conversation.id;
}

// ---- Explorer

const explorer = (page) => ({
  editor: page.getByLabel(/^Operation Ctrl/),
  options: page.getByRole('option'),
  result: page.getByRole('log', { name: 'Result' }),
  status: page.getByRole('status'),
  async pick(example) {
    await page.getByRole('button', { name: 'Examples' }).click();
    await page.getByRole('button', { name: example, exact: true }).click();
  },
  async write(text) {
    await page.getByLabel(/^Operation Ctrl/).fill('');
    await page.keyboard.type(text);
  },
  /** The suggestions that are shown. */
  suggestions: () => page.locator('#suggestions:not([hidden]) [role=option]').allInnerTexts(),
});

/** The schema is there as soon as the page lists its types. */
const schema = (page) => page.locator('#docs').getByRole('button', { name: 'Conversation', exact: true }).waitFor();

test('explorer: completes a query, runs it, and remembers it', async () => {
  await send('What does an explorer need?');
  await withPage('/explorer', async (page) => {
    const { editor, suggestions, result } = explorer(page);
    await schema(page);
    await explorer(page).write('query { conv');
    assert.deepEqual(await suggestions(), ['conversation', 'conversations', 'conversationChanges']);
    const active = () => editor.getAttribute('aria-activedescendant');
    const first = await active();
    await page.keyboard.press('ArrowDown');
    assert.notEqual(await active(), first);
    await picture(page, 'explorer-completion');
    await page.keyboard.press('Enter');
    assert.equal(await editor.inputValue(), 'query { conversations');
    await page.keyboard.type('(fi');
    await page.keyboard.press('Enter');
    await page.keyboard.type('1) { nodes { tit');
    await page.keyboard.press('Escape');
    assert.deepEqual(await suggestions(), []);
    await page.keyboard.press('Control+Space');
    const fields = ['GeneratedAt', 'Source', 'Status', 'WaitsFor', 'Error', 'Locked'].map((name) => `title${name}`);
    assert.deepEqual(await suggestions(), ['title', ...fields]);
    await page.keyboard.press('Enter');
    await page.keyboard.type(' } } }');
    const written = 'query { conversations(first: 1) { nodes { title } } }';
    assert.equal(await editor.inputValue(), written);
    await page.keyboard.press('Control+Enter');
    await seen(result, /"title": ".+"/);
    await page.reload();
    assert.equal(await editor.inputValue(), written);
  });
});

test('explorer: suggests what fits the place', async () => {
  await withPage('/explorer', async (page) => {
    const { editor, write, suggestions } = explorer(page);
    await schema(page);
    const suggested = async (text) => {
      await editor.fill(text);
      await page.keyboard.press('Control+Space');
      return suggestions();
    };
    assert.deepEqual(await suggested(''), ['query', 'mutation', 'subscription', 'fragment']);
    assert.ok((await suggested('query Q($input: SendM')).includes('SendMessageInput'));
    assert.ok(!(await suggested('query Q($id: ')).includes('Conversation'));
    assert.deepEqual(await suggested('mutation M($text: String!) { sendMessage(input: {text: '), ['$text']);
    assert.ok((await suggested('mutation M { a: sendMessage(input: {')).includes('topicHint: '.trim()));
    assert.deepEqual(await suggested('{ conversation(id: "{") { titleSt'), ['titleStatus']);
    assert.deepEqual(await suggested('subscription { reply(conversationId: 1) { ... on ReplyE'), ['... on ReplyEnded']);
    assert.deepEqual(await suggested('subscription { reply { ... on ReplyEnded { outc'), ['outcome']);
    assert.deepEqual(await suggested('{ conversation { id @include(if: true) title } nod'), ['node']);
    assert.ok((await suggested('fragment Parts on Conv')).includes('ConversationFilter') === false);
    assert.deepEqual(await suggested('{ conversations # conv'), []);
    assert.deepEqual(await suggested('{ conversation(id: "conv'), []);
    await write('query {\nnode(\nid: 1\n) {\n}');
    assert.equal(await editor.inputValue(), 'query {\n  node(\n    id: 1\n  ) {\n  }');
  });
});

for (const transport of ['WebSocket', 'SSE']) {
  test(`explorer: shows a live title over ${transport}`, async () => {
    await withPage('/explorer', async (page) => {
      const { pick, result, status } = explorer(page);
      await page.getByLabel('Subscribe over').selectOption(transport);
      await pick('Watch all conversations');
      await page.keyboard.press('Control+Enter');
      await seen(status, /Running/);
      // Nothing says that a subscription has begun: the first event does.
      await page.waitForTimeout(500);
      const id = await send(`How do I mend a kettle over ${transport}?`);
      const text = await seen(result, /"titleStatus": "READY"/);
      assert.ok(text.includes(id));
      await picture(page, `explorer-live-${transport}`);
      // A query runs beside what is watched.
      await pick('List conversations');
      await page.getByRole('button', { name: 'Run', exact: true }).click();
      await seen(result, /nodes/);
      await page.getByRole('button', { name: 'Stop', exact: true }).click();
      await seen(status, /Stopped/);
      assert.ok(await page.getByRole('button', { name: 'Stop', exact: true }).isDisabled());
      const events = await result.locator('pre').count();
      await send(`How do I fill a kettle over ${transport}?`);
      await page.waitForTimeout(500);
      assert.equal(await result.locator('pre').count(), events);
    });
  });
}

test('explorer: sends a message, then watches its reply to the end', async () => {
  await withPage('/explorer', async (page) => {
    const { pick, result, status } = explorer(page);
    await pick('Send a message');
    await page.keyboard.press('Control+Enter');
    await seen(result, /replyId/);
    await pick('Watch a reply');
    assert.match(await page.getByLabel('Variables').inputValue(), /"id": ".{36}"/);
    await page.keyboard.press('Control+Enter');
    await seen(result, /"outcome": "COMPLETED"/);
    await seen(status, /Done/);
  });
});

test('explorer: asks which of several operations to run, and shows what is wrong', async () => {
  await withPage('/explorer', async (page) => {
    const { editor, result, status } = explorer(page);
    const picker = page.getByLabel('Operation to run');
    assert.ok(!(await picker.isVisible()));
    await editor.fill('query First { ...Parts } mutation Second { __typename } fragment Parts on Query { __typename }');
    assert.deepEqual(await picker.getByRole('option').allInnerTexts(), ['query First', 'mutation Second']);
    await picker.selectOption('query First');
    await page.keyboard.press('Control+Enter');
    // The server refuses the document if another operation does not use the fragment, or runs it.
    await seen(result, /First/);
    await picker.selectOption('mutation Second');
    await page.keyboard.press('Control+Enter');
    await seen(result, /Second[^]*"__typename": "Mutation"/);
    await page.getByLabel('Variables').fill('{');
    await page.keyboard.press('Control+Enter');
    await seen(status, /variables/i);
  });
});

test('explorer: shows the schema, searchable and linked', async () => {
  await withPage('/explorer', async (page) => {
    await schema(page);
    const docs = page.locator('#docs');
    await page.getByLabel('Schema').fill('titlest');
    await seen(docs, /TitleStatus[^]*Conversation\.titleStatus|Conversation\.titleStatus[^]*TitleStatus/);
    await docs.getByRole('button', { name: 'Conversation.titleStatus' }).click();
    await seen(docs, /The state of title generation/);
    await picture(page, 'explorer-docs');
    await docs.getByRole('button', { name: 'TitleStatus!' }).click();
    await seen(docs, /PENDING[^]*SKIPPED/);
    await page.getByLabel('Schema').fill('ReplyEvent');
    await docs.getByRole('button', { name: 'ReplyEnded' }).click();
    await seen(docs, /ReplyOutcome!/);
  });
});

test('explorer: shows server data as text', async () => {
  await withPage('/explorer', async (page) => {
    const { pick, result } = explorer(page);
    await pick('Send a message');
    await page.getByLabel('Variables').fill('{"text": "<img src=x onerror=alert(1)> explained"}');
    await page.keyboard.press('Control+Enter');
    await seen(result, /<img src=x/);
    assert.equal(await result.locator('img').count(), 0);
  });
});

// ---- GraphiQL

/** GraphiQL reads an editor 100 ms after a change, and stores it after 500. */
const SETTLE_MS = 1000;

const graphiql = (page) => ({
  editor: page.locator('.graphiql-query-editor .monaco-editor').first(),
  result: page.locator('.graphiql-response'),
  execute: page.locator('.graphiql-execute-button'),
  async open(name) {
    // A tab that is opened before the editors are there does not reach them.
    await seen(page.locator('.graphiql-query-editor .view-lines'), /\{/);
    await page.locator('.graphiql-editor-tool .monaco-editor').first().waitFor();
    await page.locator('.graphiql-response .monaco-editor').waitFor();
    await page.getByRole('tab', { name }).click();
    await page.waitForTimeout(SETTLE_MS);
  },
});

test('GraphiQL: completes a query and runs it', async () => {
  await send('What does GraphiQL need?');
  await withPage('/graphiql', async (page) => {
    const { editor, result, open } = graphiql(page);
    await open('Conversations');
    await editor.click();
    await page.keyboard.press('Control+A');
    await page.keyboard.type('{ conversations { nodes { titleSt', { delay: 20 });
    const suggestion = page.locator('.suggest-widget .monaco-list-row').filter({ hasText: 'titleStatus' });
    await suggestion.first().waitFor();
    await picture(page, 'graphiql-completion');
    await page.keyboard.press('Enter');
    await seen(editor, /nodes \{ titleStatus/);
    await page.waitForTimeout(SETTLE_MS);
    await page.keyboard.press('Control+Enter');
    await seen(result, /"titleStatus": "(READY|PENDING)"/);
  });
});

test('GraphiQL: has the variables of an example, and remembers the tab', async () => {
  await withPage('/graphiql', async (page) => {
    const { editor, result, execute, open } = graphiql(page);
    const variables = page.locator('.graphiql-editor-tool').first();
    await open('SendMessage');
    await seen(variables, /bicycle tyre/);
    await execute.click();
    await seen(result, /"replyId"/);
    await page.waitForTimeout(SETTLE_MS);
    await page.reload();
    await seen(editor, /mutation SendMessage/);
    await seen(variables, /bicycle tyre/);
  });
});

test('GraphiQL: shows a live title', async () => {
  await withPage('/graphiql', async (page) => {
    const { result, open, execute } = graphiql(page);
    await open('WatchAll');
    const socket = page.waitForEvent('websocket');
    await execute.click();
    await socket;
    await page.waitForTimeout(1000);
    const id = await send('How do I sharpen a garden spade?');
    const text = await seen(result, /"titleStatus": "READY"/);
    assert.ok(text.includes(id));
    await picture(page, 'graphiql-live');
  });
});

/** What the page from a CDN asks for, out of the registry's packages: files by their URL. */
async function cdnFiles(folder) {
  const html = await (await fetch(`${server.url}/graphiql/cdn`)).text();
  const urls = [...html.matchAll(/"https:\/\/unpkg\.com\/([^@]+@[^/]+)\/([^"]+)"\s+crossorigin\s+integrity="sha384-/g)];
  assert.equal(urls.length, html.split('"https:').length - 1, 'each file is checked against a hash');
  const files = urls.map(async ([link, name, path], n) => {
    const to = `${folder}/${n}`;
    await mkdir(to);
    await execute('npm', ['pack', '--silent', '--pack-destination', to, name]);
    await execute('tar', ['-xzf', `${to}/${name.replace('@', '-')}.tgz`, '-C', to]);
    return [link.split('"')[1], `${to}/package/${path}`];
  });
  return Object.fromEntries(await Promise.all(files));
}

test('GraphiQL from a CDN, where it was not built: shows a live title, or where the explorer is', async () => {
  const folder = await mkdtemp(`${tmpdir()}/titlecast-cdn-`);
  try {
    const files = await cdnFiles(folder);
    const use = async (page) => {
      const { result, execute: run } = graphiql(page);
      const editor = page.locator('.graphiql-query-editor .CodeMirror-code');
      const open = async (name, text) => {
        await page.getByRole('tab', { name }).click();
        await seen(editor, text);
        await page.waitForTimeout(SETTLE_MS);
      };
      await seen(editor, /query Conversations/);
      await open('WatchAll', /subscription WatchAll/);
      const opened = page.waitForEvent('websocket');
      await run.click();
      await opened;
      await page.waitForTimeout(SETTLE_MS);
      const id = await send('How do I oil a garden gate?');
      assert.ok((await seen(result, /"titleStatus": "READY"/)).includes(id));
      await run.click();
      await open('SendMessage', /mutation SendMessage/);
      await run.click();
      await seen(result, /"replyId"/);
    };
    await withPage('/graphiql/cdn', use, { answers: files });
    const none = Object.fromEntries(Object.keys(files).map((url) => [url, null]));
    const read = async (page) => {
      await seen(page.locator('body'), /not built into this server/);
      await page.getByRole('link', { name: 'The explorer' }).click();
      await explorer(page).editor.waitFor();
    };
    await withPage('/graphiql/cdn', read, { answers: none, expected: /Failed to load resource/ });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('both start from the same operations', async () => {
  await withPage('/explorer', async (page) => {
    const buttons = await page.locator('#examples button').evaluateAll((all) => all.map(({ dataset }) => ({ ...dataset })));
    const parsed = (variables) => variables && JSON.parse(variables);
    assert.deepEqual(
      buttons.map(({ query, variables }) => [query, parsed(variables)]),
      EXAMPLES.map(({ query, variables }) => [query, parsed(variables)]),
    );
  });
});

// ---- How they look

for (const path of ['/explorer', '/graphiql']) {
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [DESKTOP, PHONE]) {
      test(`${path} fits ${viewport.width} px, ${colorScheme}`, async () => {
        await withPage(
          path,
          async (page) => {
            if (path === '/explorer') await schema(page);
            else await seen(graphiql(page).editor, /query Conversations/);
            if (path === '/explorer') await page.keyboard.press('Control+Enter');
            else await graphiql(page).execute.click();
            if (path === '/explorer') await seen(explorer(page).result, /nodes/);
            else await seen(graphiql(page).result, /nodes/);
            const width = await page.evaluate(() => document.documentElement.scrollWidth);
            assert.ok(width <= viewport.width, `the page is ${width} px wide`);
            if (path === '/graphiql') await picture(page, `graphiql-${viewport.width}-${colorScheme}`);
            else assert.deepEqual(await violations(page), []);
          },
          { colorScheme, viewport },
        );
      });
    }
  }
}
