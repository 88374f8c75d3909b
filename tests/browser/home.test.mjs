// The page at `/` as a person uses it, with a model that says only what the test lets it say.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';

import { BINARY, DESKTOP, Model, PHONE, Server, launch, picture, seen, until, violations, withPage, withTabs } from './support.mjs';

const SMALL = { width: 390, height: 844 };
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

/** Opens the drawer of frames, which stays open over reloads. */
const openFrames = (page) => page.getByRole('button', { name: 'Frames', exact: true }).click();

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
    await openFrames(page);
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
    await openFrames(page);
    await page.reload();
    await shows(page, text, REPLY[0] + REPLY[1]);
    // The subscription `reply` has the text up to now.
    await seen(parts(page).graphql, /"ReplySoFar"[^]*"recovered":false/);
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
        await openFrames(page);
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
    const reply = await model.reply();
    reply.say('So.');
    reply.end();
    await seen(first, /^Why is the sky blue\?\s+2 messages, no title: REJECTED$/);
    await page.getByRole('button', { name: 'Another title' }).click();
    await model.title('Why the Sky Is Blue');
    await seen(first, /^Why the Sky Is Blue/);
    await seen(heading, /^Why the Sky Is Blue$/);
  });
});

test('a reply can be stopped', async () => {
  await withPage(browser, server.url, async (page) => {
    await openFrames(page);
    await send(page, 'Count to a million.');
    await model.title('Counting');
    (await model.reply()).say('One, two, ');
    await shows(page, 'Count to a million.', 'One, two, ');
    await page.getByRole('button', { name: 'Stop' }).click();
    await seen(parts(page).sse, /"response.incomplete"/);
    await page.getByRole('button', { name: 'Send' }).waitFor();
    await shows(page, 'Count to a million.', 'One, two, ');
    const note = page.locator('#messages .note');
    await seen(note, /^Stopped/);
    await page.reload();
    await seen(note, /^Stopped/);
    await shows(page, 'Count to a million.', 'One, two, ');
  });
});

test('a reply is stopped before it begins, and from another tab', async () => {
  await withTabs(browser, async (open) => {
    const one = await open(server.url);
    const note = (tab) => tab.locator('#messages .note');
    // The message is still on its way.
    await one.route('**/api/v1/chat/stream*', async (route) => {
      await until(() => one.evaluate(() => reading.isStopped), 'Stop was pressed');
      await route.continue();
    });
    await send(one, 'What would you say first?');
    await one.getByRole('button', { name: 'Stop', exact: true }).click();
    await model.title('What Comes First');
    await model.reply();
    await seen(note(one), /^Stopped/);
    await one.unroute('**/api/v1/chat/stream*');

    await one.getByRole('button', { name: 'Try again' }).click();
    (await model.reply()).say('At first ');
    const two = await open(one.url());
    for (const tab of [one, two]) await shows(tab, 'What would you say first?', 'At first ');
    await two.getByRole('button', { name: 'Stop', exact: true }).click();
    for (const tab of [one, two]) await seen(note(tab), /^Stopped/);
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

test('an empty list explains itself, and a sample begins a conversation', async () => {
  const own = await Server.start(model.settings);
  try {
    await withPage(browser, own.url, async (page) => {
      await seen(page.locator('#welcome'), /No conversations yet[^]*small model names the conversation/);
      const samples = page.locator('#prompts button');
      assert.equal(await samples.count(), 3);
      const text = await samples.nth(1).innerText();
      await samples.nth(1).click();
      await model.title('Sourdough in Winter');
      const stream = await model.reply();
      stream.say('Too cold.');
      stream.end();
      await shows(page, text, 'Too cold.');
      await seen(parts(page).first, /^Sourdough in Winter\s+2 messages$/);
      assert.ok(!(await page.locator('#welcome').isVisible()));
      await page.getByRole('button', { name: 'New conversation' }).click();
      await samples.first().waitFor();
      assert.ok(!(await page.locator('#first').isVisible()));
    });
  } finally {
    await own.end();
  }
});

test('a search finds titles and messages, and says when it finds nothing', async () => {
  await withPage(browser, server.url, async (page) => {
    await converse(page, 'How do glaciers move?', 'How Glaciers Move', ['They ', 'slide on meltwater.']);
    await seen(parts(page).first, /2 messages/);
    const query = page.getByRole('searchbox', { name: 'Search conversations' });
    const hits = page.getByRole('list', { name: 'Search results' });
    const found = page.locator('#found');
    await query.fill('meltwater');
    await seen(found, /^1 found$/);
    await seen(hits, /^How Glaciers Move\s+.*meltwater/);
    await page.getByRole('button', { name: 'New conversation' }).click();
    await hits.getByRole('button').click();
    await shows(page, 'How do glaciers move?', 'They slide on meltwater.');
    await query.fill('xylophone');
    await seen(found, /^Nothing found for “xylophone”$/);
    assert.equal(await hits.getByRole('button').count(), 0);
    await query.press('Escape');
    await parts(page).first.waitFor();
    assert.equal(await found.innerText(), '');
  });
});

test('an archived conversation leaves the list of every tab, and comes back', async () => {
  await withTabs(browser, async (open) => {
    const [one, two] = [await open(server.url), await open(server.url)];
    await converse(one, 'Where do swifts sleep?', 'Where Swifts Sleep');
    const entry = (page) => page.locator('#list').getByRole('button', { name: /^Where Swifts Sleep/ });
    await entry(two).waitFor();
    await one.getByRole('button', { name: 'Archive', exact: true }).click();
    for (const tab of [one, two]) await until(async () => (await entry(tab).count()) === 0, 'it left the list');
    // It stays open, and searches find it.
    await shows(one, 'Where do swifts sleep?', REPLY.join(''));
    const query = two.getByRole('searchbox', { name: 'Search conversations' });
    await query.fill('swifts sleep');
    const hits = two.getByRole('list', { name: 'Search results' });
    await seen(hits, /^Where Swifts Sleep\s+2 messages, archived$/);
    assert.deepEqual(await hits.locator('mark').allTextContents(), ['Swifts', 'Sleep']);
    await query.press('Escape');

    await two.reload();
    await two.getByRole('button', { name: 'Archived' }).click();
    await entry(two).click();
    await shows(two, 'Where do swifts sleep?', REPLY.join(''));
    await two.getByRole('button', { name: 'Unarchive' }).click();
    await until(async () => (await entry(two).count()) === 0, 'it left the archive');
    await seen(two.locator('#empty'), /^No archived conversations$/);
    await entry(one).waitFor();
    await one.getByRole('button', { name: 'Archive', exact: true }).waitFor();
    await two.getByRole('button', { name: 'Archived' }).click();
    await entry(two).waitFor();
  });
});

test('without a server a message waits in the field, and is sent once when it is back', async () => {
  const own = await Server.start(model.settings);
  try {
    await withPage(browser, own.url, async (page) => {
      await converse(page, 'What is rain?', 'Rain');
      await page.getByRole('button', { name: 'Send' }).waitFor();
      await seen(parts(page).first, /^Rain\s+2 messages$/);
      await own.kill();
      await seen(parts(page).state, /^Disconnected .*reconnecting$/);
      await send(page, 'And hail?');
      await seen(parts(page).problem, /cannot be reached/);
      assert.equal(await parts(page).field.inputValue(), 'And hail?');
      await shows(page, 'What is rain?', REPLY.join(''));
      await own.back();
      await seen(parts(page).state, /^Connected$/);
      await page.keyboard.press('Enter');
      const stream = await model.reply();
      stream.say('Ice.');
      stream.end();
      await shows(page, 'What is rain?', REPLY.join(''), 'And hail?', 'Ice.');
      await seen(parts(page).first, /^Rain\s+4 messages$/);
      assert.equal(await parts(page).problem.innerText(), '');
    }, { expected: /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_INCOMPLETE_CHUNKED/ });
  } finally {
    await own.end();
  }
});

test('a reply that fails says why, also after a reload, and can be tried again', async () => {
  await withPage(browser, server.url, async (page) => {
    await send(page, 'Who painted this?');
    await model.title('Who Painted This');
    await model.refuse();
    const note = page.locator('#messages .note');
    await seen(note, /^The reply failed: .* \(MODEL_\w+\)/);
    await page.reload();
    await seen(note, /^The reply failed: .* \(MODEL_\w+\)/);
    await shows(page, 'Who painted this?');
    await note.getByRole('button', { name: 'Try again' }).click();
    const stream = await model.reply();
    stream.say('Vermeer.');
    stream.end();
    await shows(page, 'Who painted this?', 'Vermeer.');
    await seen(parts(page).first, /2 messages/);
    assert.equal(await note.count(), 0);
  });
});

test('another conversation can be begun while a reply is written', async () => {
  await withPage(browser, server.url, async (page) => {
    await send(page, 'Write a novel.');
    await model.title('A Novel');
    const novel = await model.reply();
    novel.say('It was ');
    await shows(page, 'Write a novel.', 'It was ');
    await page.getByRole('button', { name: 'New conversation' }).click();
    await converse(page, 'What is a poem?', 'Poems');
    novel.say('a dark night.');
    await page.getByRole('button', { name: /^A Novel/ }).click();
    await shows(page, 'Write a novel.', 'It was a dark night.');
    novel.end();
    await seen(page.getByRole('button', { name: /^A Novel/ }), /2 messages/);
  });
});

test('a reply of 400 KB in small pieces does not stop the page', async () => {
  await withPage(browser, server.url, async (page) => {
    const piece = 'Lorem ipsum dolor sit amet. '.repeat(36);
    await page.evaluate(() => {
      let last = performance.now();
      window.longest = 0;
      setInterval(() => { longest = Math.max(longest, performance.now() - last); last = performance.now(); }, 50);
    });
    await converse(page, 'Write a book about oceans.', 'A Book About Oceans', Array(400).fill(piece));
    await seen(parts(page).first, /2 messages/);
    const longest = await page.evaluate(() => window.longest);
    assert.ok(longest < 8000, `the page stood still for ${longest} ms`);
  });
});

test('titles may be long, and be written from right to left', async () => {
  await withPage(browser, server.url, async (page) => {
    await converse(page, 'What is a long name?', 'A Long Name');
    const rename = async (title) => {
      await page.getByRole('button', { name: 'Rename' }).click();
      await page.getByLabel('New title').fill(title);
      await page.keyboard.press('Enter');
      await until(async () => (await parts(page).first.locator('span').textContent()) === title, title);
    };
    const direction = (of) => of.evaluate((node) => getComputedStyle(node).direction);
    await rename('W'.repeat(128));
    const list = await page.locator('#side').boundingBox();
    const item = await parts(page).first.boundingBox();
    assert.ok(item.x + item.width <= list.x + list.width && item.height < 90, JSON.stringify(item));
    assert.ok((await parts(page).heading.boundingBox()).height < 60);
    assert.ok(await page.getByRole('button', { name: 'Frames', exact: true }).isVisible());
    await rename('خطة رحلة إلى كيوتو في أبريل');
    assert.equal(await direction(parts(page).heading), 'rtl');
    assert.equal(await direction(parts(page).first.locator('span')), 'rtl');
    assert.equal(await direction(parts(page).first.locator('small')), 'ltr');
    await picture(page, 'right-to-left');
  });
});

test('500 conversations are read page by page, and stay in order when one changes', async () => {
  const own = await Server.start();
  const record = 'mutation ($text: String!) { recordMessage(input: { role: USER, text: $text }) { conversation { id } } }';
  try {
    for (let begun = 0; begun < 500; begun += 25) {
      await Promise.all(Array.from({ length: 25 }, (_, n) => own.graphql(record, { text: `Question number ${begun + n} about gardens` })));
    }
    await withPage(browser, own.url, async (page) => {
      const items = page.locator('#list button');
      const older = page.getByRole('button', { name: 'Older conversations' });
      for (let count = 50; count <= 500; count += 50) {
        await until(async () => (await items.count()) === count, `${count} conversations`);
        if (count < 500) await older.click();
      }
      await until(async () => !(await older.isVisible()), 'there is no further page');
      const oldest = await items.last().innerText();
      await items.last().click();
      await seen(parts(page).heading, new RegExp(`^${oldest.split('\n')[0]}$`));
      await send(page, 'What else?');
      await seen(items.first(), /3 messages|2 messages/);
      assert.equal((await items.first().innerText()).split('\n')[0], oldest.split('\n')[0]);
      assert.equal(await items.count(), 500);
    });
  } finally {
    await own.end();
  }
});

test('on a phone the field stays in view, and the list slides over', async () => {
  await withPage(browser, server.url, async (page) => {
    const inView = async (what) => {
      const box = await parts(page).field.boundingBox();
      assert.ok(box.y >= 0 && box.y + box.height <= SMALL.height && box.x >= 0 && box.x + box.width <= SMALL.width, `${what}: ${JSON.stringify(box)}`);
    };
    await inView('at first');
    await converse(page, 'Tell me everything.', 'Everything', ['A long line of words. '.repeat(200)]);
    await inView('behind a long reply');
    await openFrames(page);
    await inView('with the frames');
    await page.getByRole('button', { name: 'Close the frames' }).click();
    await parts(page).field.fill('line\n'.repeat(60));
    await inView('with a long message');
    await parts(page).field.fill('');

    const menu = page.getByRole('button', { name: 'Conversations' });
    await menu.click();
    assert.equal(await menu.getAttribute('aria-expanded'), 'true');
    assert.ok(await page.getByRole('button', { name: 'Close the list' }).evaluate((node) => node === document.activeElement));
    await page.keyboard.press('Escape');
    await until(() => menu.evaluate((node) => node === document.activeElement), 'the focus is back');
    await menu.click();
    await page.getByRole('button', { name: /^Everything/ }).click();
    await until(async () => (await menu.getAttribute('aria-expanded')) === 'false', 'the list closed');
    await shows(page, 'Tell me everything.', 'A long line of words. '.repeat(200));
  }, { viewport: SMALL });
});

test('the keyboard reaches the field at once, and a change is announced', async () => {
  await withPage(browser, server.url, async (page) => {
    await seen(parts(page).state, /^Connected$/);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    assert.ok(await parts(page).field.evaluate((node) => node === document.activeElement));
    await page.keyboard.type('What is moss?');
    await page.keyboard.press('Enter');
    await model.title('Moss');
    const stream = await model.reply();
    stream.say('A plant.');
    stream.end();
    // The reply is announced once, at its end: not each piece.
    await until(async () => (await page.locator('#news').textContent()) === 'Reply: A plant.', 'the reply was announced');
    assert.equal(await page.getByRole('log').getAttribute('aria-live'), 'off');
    assert.ok(await parts(page).field.evaluate((node) => node === document.activeElement));
  });
});

test('the page is small, and its policy allows nothing else', async () => {
  const response = await fetch(server.url);
  assert.ok((await response.text()).length < 60 * 1024);
  const policy = response.headers.get('content-security-policy');
  const hash = "'sha256-[A-Za-z0-9+/]{43}='";
  assert.match(policy, new RegExp(`^default-src 'none'; script-src ${hash}; style-src ${hash}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'$`));
});

for (const colorScheme of ['light', 'dark']) {
  for (const viewport of [DESKTOP, PHONE]) {
    test(`the page is accessible and fits ${viewport.width} px, ${colorScheme}`, async () => {
      const look = async (page) => {
        await openFrames(page);
        await page.getByLabel('Deltas').uncheck();
        await converse(page, MESSAGE, TITLE);
        await seen(parts(page).first, /2 messages/);
        await picture(page, `page-${viewport.width}-${colorScheme}`);
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(width <= viewport.width, `the page is ${width} px wide`);
        await page.getByRole('button', { name: 'Rename' }).click();
        assert.deepEqual(await violations(page), []);
        // And without the drawer, at the beginning of a conversation.
        await page.keyboard.press('Escape');
        await page.getByRole('button', { name: 'Close the frames' }).click();
        await page.goto(`${server.url}/#`);
        await page.locator('#welcome').waitFor();
        await picture(page, `first-${viewport.width}-${colorScheme}`);
        assert.deepEqual(await violations(page), []);
      };
      await withPage(browser, server.url, look, { colorScheme, viewport, reducedMotion: 'reduce' });
    });
  }
}
