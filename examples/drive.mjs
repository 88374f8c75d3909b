// The page of browser/ in Chromium: sends a message, waits for its title and the whole reply, and for both again after a
// reload. PAGE says where the page is served.
import { equal } from "node:assert";
import { chromium } from "playwright-core";

const { PAGE, TITLECAST_URL: url = "http://127.0.0.1:8080", TITLECAST_TOKEN: token, CHROMIUM } = process.env;
const browser = await chromium.launch({ executablePath: CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage();
page.setDefaultTimeout(30_000);
page.on("console", (message) => console.log(message.text()));
page.on("pageerror", (error) => console.log(error.stack));

async function seen() {
  await page.getByText("The end.").waitFor();
  await page.getByText("New conversation").waitFor({ state: "hidden" });
  const [title, reply] = await Promise.all(["#title", "#reply"].map((place) => page.locator(place).textContent()));
  console.log(`${title}\n${reply}`);
  const path = `${url}/api/v1/conversations/${new URL(page.url()).hash.slice(1)}`;
  const stored = await page.request.get(path, { headers: token ? { authorization: `Bearer ${token}` } : {} });
  const { display_name, messages } = await stored.json();
  equal(title, display_name);
  equal(reply, messages[1].content);
}

// What a login would have done.
const cookie = token && { name: "titlecast", value: token, url, httpOnly: true, sameSite: "Lax" };
if (cookie) await page.context().addCookies([cookie]);
try {
  await page.goto(`${PAGE}/?url=${url}${cookie ? "&cookie" : ""}`);
  await page.getByLabel("Message").fill("How do I prune an apple tree?");
  await page.getByRole("button", { name: "Send" }).click();
  await seen();
  await page.reload();
  await seen();
} finally {
  await browser.close();
}
