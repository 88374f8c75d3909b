// The page at `/` as a person uses it, with a model that says only what the test lets it say.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';

import { BINARY, DESKTOP, Model, PHONE, Server, launch, picture, seen, until, violations, withPage, withTabs } from './support.mjs';

const MESSAGE = 'Can you help me plan a trip to Kyoto in April?';
const TITLE = 'Plan a Trip to Kyoto';
const REPLY = ['Gladly! ', 'Start with ', 'the temples, ', 'then the gardens.'];

let browser;
let model;
let server;

before(async () => {
  [browser, model] = await Promise.all([launch(), Model.start()]);
  server = await Server.start(model.settings);
});

after(async () => {
  await browser?.close();
  await server?.end();
  model?.end();
});

const parts = (page) => ({
  list: page.locator('#list'),
  first: page.locator('#list button').first(),
  heading: page.locator('#heading'),
  messages: page.getByRole('log', { name: 'Messages' }),
  field: page.getByRole('textbox', { name: 'Message' }),
  problem: page.getByRole('alert'),
  state: page.locator('#state'),
  graphql: page.getByRole('list', { name: 'Frames of GraphQL' }),
  sse: page.getByRole('list', { name: "Frames of the reply's stream" }),
});

const send = async (page, text) => {
  await parts(page).field.fill(text);
  await page.keyboard.press('Enter');
};

/** The texts of the messages that are shown, as they are on the page. */
const texts = (page) => page.locator('#messages p').allTextContents();
const shows = (page, ...expected) =>
  until(async () => JSON.stringify(await texts(page)) === JSON.stringify(expected), `messages ${expected}`);

/** Begins a conversation, and lets the model name it and answer. */
async function converse(page, text, title, reply = REPLY) {
  await parts(page).field.fill(text);
  await page.keyboard.press('Enter');
  await model.title(title);
  const stream = await model.reply();
  for (const part of reply) stream.say(part);
  stream.end();
  await shows(page, text, reply.join(''));
}

test('a message is sent, and its title arrives in both streams before the reply ends', async () => {
  await withPage(browser, server.url, async (page) => {
    const { first, heading, graphql, sse, state, field } = parts(page);
    await seen(state, /^Connected$/);
    await send(page, MESSAGE);
    await seen(first, /^Can you help me plan a trip to Kyoto in April\?\s+1 message, title pending$/);
    assert.equal(await field.inputValue(), '');
    const stream = await model.reply();
    stream.say(REPLY[0]);
    await shows(page, MESSAGE, REPLY[0]);

    await model.title(TITLE);
    await seen(first, new RegExp(`^${TITLE}\\s+1 message$`));
    await seen(heading, new RegExp(`^${TITLE}$`));
    // Each frame that brought it is marked, once.
    for (const frames of [graphql, sse]) {
      await seen(frames.locator('.title'), new RegExp(`"${TITLE}"`));
      assert.equal(await frames.locator('.title').count(), 1);
    }
    assert.equal(await page.title(), `${TITLE} · Titlecast`);

    for (const part of REPLY.slice(1)) stream.say(part);
    await shows(page, MESSAGE, REPLY.join(''));
    stream.end();
    await seen(first, /2 messages/);
    await seen(sse, /"is_terminal":true/);
    assert.equal(await sse.locator('.delta').count(), REPLY.length);
    await page.getByLabel('Deltas').uncheck();
    assert.equal(await sse.locator('.delta:visible').count(), 0);
  });
});

test('a second tab hears of it, and a rename in it arrives in the first', async () => {
  await withTabs(browser, async (open) => {
    const [one, two] = [await open(server.url), await open(server.url)];
    await converse(one, 'What grows well in the shade?', 'Plants for the Shade');
    await seen(parts(two).first, /^Plants for the Shade/);
    await parts(two).first.click();
    await shows(two, 'What grows well in the shade?', REPLY.join(''));

    await two.getByRole('button', { name: 'Rename' }).click();
    await two.getByLabel('New title').fill('My shady corner');
    await two.keyboard.press('Enter');
    await seen(parts(two).heading, /^My shady corner$/);
    await seen(parts(one).first, /^My shady corner/);
    await seen(parts(one).heading, /^My shady corner$/);

    // What is said in one tab is read in the other.
    await parts(two).field.fill('And ferns?');
    await two.keyboard.press('Enter');
    const stream = await model.reply();
    stream.say('Ferns ');
    await shows(one, 'What grows well in the shade?', REPLY.join(''), 'And ferns?', 'Ferns ');
    stream.say('too.');
    stream.end();
    for (const tab of [one, two]) {
      await shows(tab, 'What grows well in the shade?', REPLY.join(''), 'And ferns?', 'Ferns too.');
    }

    two.once('dialog', (dialog) => dialog.accept());
    await two.getByRole('button', { name: 'Delete' }).click();
    for (const tab of [one, two]) {
      await seen(parts(tab).heading, /^New conversation$/);
      assert.doesNotMatch(await parts(tab).list.innerText(), /My shady corner/);
    }
  });
});

test('a reload in the middle of a reply goes on with it', async () => {
  await withPage(browser, server.url, async (page) => {
    const text = 'How is paper made?';
    await send(page, text);
    const stream = await model.reply();
    await model.title('How Paper Is Made');
    stream.say(REPLY[0]);
    stream.say(REPLY[1]);
    await shows(page, text, REPLY[0] + REPLY[1]);
    await page.reload();
    await shows(page, text, REPLY[0] + REPLY[1]);
    await seen(parts(page).sse, /"response.in_progress"[^]*"recovered":false/);
    stream.say(REPLY[2]);
    await shows(page, text, REPLY[0] + REPLY[1] + REPLY[2]);
    stream.say(REPLY[3]);
    stream.end();
    await shows(page, text, REPLY.join(''));
    await seen(parts(page).heading, /^How Paper Is Made$/);
    await seen(parts(page).first, /2 messages/);
  });
});

test('after a crash of the server the page comes back by itself, and the reply goes on where it was kept', async () => {
  const own = await Server.start({ ...model.settings, TITLECAST_REPLY_LEASE: '3s' });
  try {
    await withPage(
      browser,
      own.url,
      async (page) => {
        await send(page, 'What is a tide?');
        await model.title('Tides');
        const stream = await model.reply();
        stream.say('The sea ');
        await shows(page, 'What is a tide?', 'The sea ');
        await own.kill();
        await seen(parts(page).state, /^Disconnected/);
        await own.back();
        await seen(parts(page).state, /^Connected$/);
        // Its process is gone: the reply is closed with what was kept of it.
        await seen(parts(page).sse, /"response.incomplete"/);
        await seen(parts(page).first, /^Tides/);
        const id = new URL(page.url()).hash.slice(1);
        const { messages } = await (await fetch(`${own.url}/api/v1/conversations/${id}`)).json();
        await shows(page, ...messages.map(({ content }) => content));
        assert.ok(await page.getByRole('button', { name: 'Send' }).isVisible());
      },
      { expected: /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET|Service Unavailable|503/ },
    );
  } finally {
    await own.end();
  }
});

test('a title that fails leaves the beginning of the message, and another can be asked for', async () => {
  await withPage(browser, server.url, async (page) => {
    const { first, heading } = parts(page);
    await send(page, 'Why is the sky blue?');
    await model.title('I am sorry, but I cannot help with that.');
    await model.title('I am sorry, but I cannot help with that.');
    (await model.reply()).end();
    await seen(first, /^Why is the sky blue\?\s+1 message, no title: REJECTED$/);
    await page.getByRole('button', { name: 'Another title' }).click();
    await model.title('Why the Sky Is Blue');
    await seen(first, /^Why the Sky Is Blue/);
    await seen(heading, /^Why the Sky Is Blue$/);
  });
});

test('a reply can be stopped', async () => {
  await withPage(browser, server.url, async (page) => {
    await send(page, 'Count to a million.');
    await model.title('Counting');
    (await model.reply()).say('One, two, ');
    await shows(page, 'Count to a million.', 'One, two, ');
    await page.getByRole('button', { name: 'Stop' }).click();
    await seen(parts(page).sse, /"response.incomplete"/);
    await page.getByRole('button', { name: 'Send' }).waitFor();
    await shows(page, 'Count to a million.', 'One, two, ');
  });
});

test('what cannot be sent stays in the field, with the reason', async () => {
  await withPage(
    browser,
    server.url,
    async (page) => {
      const { field, problem } = parts(page);
      const text = 'a'.repeat(300_000);
      await send(page, text);
      await seen(problem, /PAYLOAD_TOO_LARGE/);
      assert.equal(await field.inputValue(), text);
      await page.goto(`${server.url}/#nonsense`);
      await seen(problem, /NOT_FOUND|INVALID_INPUT/);
    },
    { expected: /413|404|422/ },
  );
});

test('what the server sends is shown as text', async () => {
  await withPage(browser, server.url, async (page) => {
    const evil = '<img src=x onerror=alert(1)> explained';
    await converse(page, evil, 'Images Explained', ['<script>alert(2)</script>']);
    await page.getByRole('button', { name: 'Rename' }).click();
    await page.getByLabel('New title').fill('<b>Images</b>');
    await page.keyboard.press('Enter');
    await seen(parts(page).first, /^<b>Images<\/b>/);
    await seen(parts(page).heading, /^<b>Images<\/b>$/);
    assert.equal(await page.locator('main img, main b, main script').count(), 0);
  });
});

test('with tokens the page asks for one, and works with it', async () => {
  const tokens = {
    TITLECAST_JWT_SECRET: 'a-secret-of-enough-characters-for-hs256',
    TITLECAST_JWT_ISSUER: 'https://issuer.example',
    TITLECAST_JWT_AUDIENCE: 'titlecast',
  };
  const own = await Server.start({ ...model.settings, ...tokens });
  try {
    await withPage(
      browser,
      own.url,
      async (page) => {
        await seen(parts(page).state, /^A valid token is required$/);
        const mint = ['token', '--tenant', 'acme', '--user', 'ada'];
        const token = execFileSync(BINARY, mint, { env: { ...process.env, ...tokens }, encoding: 'utf8' });
        await page.getByLabel('Token').fill(token);
        await page.getByRole('button', { name: 'Use it' }).click();
        await seen(parts(page).state, /^Connected$/);
        await converse(page, 'What is a token?', 'Tokens');
        await seen(parts(page).first, /^Tokens/);
        const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
        assert.ok(!kept.includes(token.trim()));
      },
      { expected: /401/ },
    );
  } finally {
    await own.end();
  }
});

test('the pages can be switched off', async () => {
  const own = await Server.start({ ...model.settings, TITLECAST_PAGES: 'false' });
  try {
    for (const path of ['/', '/explorer', '/graphiql']) {
      const response = await fetch(own.url + path);
      assert.equal(response.status, 404);
      assert.equal((await response.json()).code, 'NOT_FOUND');
    }
  } finally {
    await own.end();
  }
});

for (const colorScheme of ['light', 'dark']) {
  for (const viewport of [DESKTOP, PHONE]) {
    test(`the page is accessible and fits ${viewport.width} px, ${colorScheme}`, async () => {
      const look = async (page) => {
        await page.getByLabel('Deltas').uncheck();
        await converse(page, MESSAGE, TITLE);
        await seen(parts(page).first, /2 messages/);
        await picture(page, `page-${viewport.width}-${colorScheme}`);
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(width <= viewport.width, `the page is ${width} px wide`);
        await page.getByRole('button', { name: 'Rename' }).click();
        assert.deepEqual(await violations(page), []);
      };
      await withPage(browser, server.url, look, { colorScheme, viewport, reducedMotion: 'reduce' });
    });
  }
}
