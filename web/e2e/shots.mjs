// Takes the screenshots in docs/: node e2e/shots.mjs   (writes ../docs/map.png, ../docs/draw.png, ../docs/net.png)
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { browser as launch, choose, drawSeven, mapReady, open, realData, serve } from "./harness.mjs";

const docs = resolve(fileURLToPath(import.meta.url), "../../../docs");
const [server, browser] = [await serve(await realData()), await launch()];
const capture = async (view, name, options, act) => {
  const { page, context } = await open(browser, `${server.page}/#/${view}`, { viewport: { width: 1180, height: 720 }, ...options });
  await act(page);
  await page.waitForTimeout(1500);
  await page.screenshot({ path: join(docs, name) });
  await context.close();
};
await capture("search", "map.png", { colorScheme: "dark" }, async (page) => {
  await choose(page, "words");
  await page.fill('input[type="search"]', "alligator");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".hits li");
});
await capture("draw", "draw.png", { colorScheme: "light" }, async (page) => {
  await mapReady(page);
  await drawSeven(page);
  await page.waitForSelector(".draw .cost");
});
await capture("net", "net.png", { colorScheme: "light" }, async (page) => {
  await drawSeven(page, "figure:nth-of-type(1) .pad");
  const box = await page.locator("figure:nth-of-type(2) .pad").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height * 0.2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height * 0.8, { steps: 10 });
  await page.mouse.up();
  await page.waitForSelector('.layer[data-layer="features"] .cell[data-which="difference"] canvas');
});
await browser.close();
await server.end();
