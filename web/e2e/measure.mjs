// Measures frames per second while the map moves, and the size of the page. Asserts nothing.
//   node e2e/measure.mjs [points ...]     prints a line of JSON for each number of points (10000 and 100000) and method
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { browser as launch, choose, folder, nearness, open, serve } from "./harness.mjs";

const DIMENSIONS = 16;
const SECONDS = 4;

/** Returns points in 20 clusters as fvecs, the same in every run. */
function clusters(count) {
  let state = 7;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
  const centres = Array.from({ length: 20 }, () => Array.from({ length: DIMENSIONS }, () => random() * 10));
  const bytes = Buffer.alloc(count * (DIMENSIONS + 1) * 4);
  for (let point = 0, at = 0; point < count; point += 1) {
    at = bytes.writeInt32LE(DIMENSIONS, at);
    for (const part of centres[point % 20]) at = bytes.writeFloatLE(part + random() + random() - 1, at);
  }
  return bytes;
}

/** Returns frames per second while the pointer drags the map back and forth. */
async function drag(page, width, height) {
  const box = await page.locator(".stage-view").boundingBox();
  const frames = () => page.getAttribute(".stage", "data-frames").then(Number);
  await page.mouse.move(box.x + width / 2, box.y + height / 2);
  await page.mouse.down();
  const [before, start] = [await frames(), performance.now()];
  let step = 0;
  while (performance.now() - start < SECONDS * 1000) {
    step += 1;
    await page.mouse.move(box.x + width / 2 + 120 * Math.sin(step / 9), box.y + height / 2 + 60 * Math.cos(step / 9));
  }
  const rate = ((await frames()) - before) / ((performance.now() - start) / 1000);
  await page.mouse.up();
  return Number(rate.toFixed(1));
}

const dist = resolve(import.meta.dirname ?? ".", "../dist");
const weight = readdirSync(dist, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  .map((entry) => readFileSync(join(entry.parentPath ?? entry.path, entry.name)))
  .reduce(([raw, packed], file) => [raw + file.length, packed + gzipSync(file, { level: 9 }).length], [0, 0]);
console.log(JSON.stringify({ page_bytes: weight[0], page_gzip_bytes: weight[1], cores: cpus().length }));

const sizes = process.argv.slice(2).map(Number);
const data = folder();
for (const count of sizes.length > 0 ? sizes : [10_000, 100_000]) {
  const file = join(folder(), "points.fvecs");
  writeFileSync(file, clusters(count));
  await nearness("load", "--quiet", "--data", data, "--collection", `p${count}`, "--metric", "l2", file);
}
const [server, browser] = [await serve(data), await launch()];
for (const count of sizes.length > 0 ? sizes : [10_000, 100_000]) {
  const { page, context } = await open(browser, `${server.page}/#/search`);
  const start = performance.now();
  await choose(page, `p${count}`);
  await page.waitForFunction((expected) => Number(document.querySelector(".stage").dataset.points) >= expected, count, { timeout: 240_000 });
  const shown = Number(((performance.now() - start) / 1000).toFixed(1));
  // Until then the server computes the layout on the same cores.
  await page.waitForSelector('.stage[data-layout="ready"]', { timeout: 240_000 });
  const { width, height } = await page.locator(".stage-view").boundingBox();
  const flat = await drag(page, width, height);
  await page.click('.tool:has-text("3-D")');
  await page.waitForSelector('.stage[data-layout="ready"]', { timeout: 240_000 });
  const deep = await drag(page, width, height);
  console.log(JSON.stringify({ points: count, pixels: `${width}x${height}`, seconds_to_show: shown, fps_2d: flat, fps_3d: deep }));
  await context.close();
}
await browser.close();
await server.end();
rmSync(data, { recursive: true, force: true });
