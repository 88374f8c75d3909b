// Takes the pictures that the documentation shows: node pictures.mjs <folder>. The offline model answers.

import { DESKTOP, PHONE, Server, launch, seen } from './support.mjs';

const [folder] = process.argv.slice(2);
const MESSAGES = [
  'How do I repair a bicycle tyre?',
  'Write a polite reminder for an unpaid invoice',
  'Was ist der Unterschied zwischen Miete und Pacht?',
  'Why does my sourdough not rise in winter?',
];
const LAST = 'Can you help me plan a trip to Kyoto in April?';

const browser = await launch();
const server = await Server.start();
try {
  for (const text of MESSAGES) {
    await fetch(`${server.url}/api/v1/chat`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ message: text }),
    });
  }
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [DESKTOP, PHONE]) {
      const context = await browser.newContext({ colorScheme, viewport });
      const page = await context.newPage();
      const name = (what) => ({ path: `${folder}/${what}-${viewport.width}-${colorScheme}.png` });
      await page.goto(server.url);
      await seen(page.locator('#state'), /^Connected$/);
      await page.getByRole('button', { name: 'Frames', exact: true }).click();
      await page.getByLabel('Deltas').uncheck();
      await page.getByRole('textbox', { name: 'Message' }).fill(LAST);
      await page.keyboard.press('Enter');
      await seen(page.getByRole('list', { name: "Frames of the reply's stream" }), /response.completed/);
      await seen(page.locator('#list button').first(), /2 messages/);
      await page.screenshot(name('page'));
      await page.getByRole('button', { name: 'Close the frames' }).click();
      page.once('dialog', (dialog) => dialog.accept());
      await page.getByRole('button', { name: 'Delete' }).click();
      await seen(page.locator('#heading'), /^New conversation$/);

      await page.goto(`${server.url}/graphiql`);
      await seen(page.locator('.graphiql-query-editor .view-lines'), /Conversations/);
      await page.locator('.graphiql-response .monaco-editor').waitFor();
      await page.locator('.graphiql-execute-button').click();
      await seen(page.locator('.graphiql-response'), /nodes/);
      await page.screenshot(name('graphiql'));
      await context.close();
    }
  }
} finally {
  await browser.close();
  await server.end();
}
