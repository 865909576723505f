// Support for the browser tests: the nearness binary with real collections, and headless Chromium.
//
// NEARNESS_BIN: the binary (../target/release/nearness). NEARNESS_E2E_DATA: a data directory created by
// `nearness quickstart`; by default one is created in out/. CHROMIUM: the browser (/usr/bin/chromium).
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
export const OUT = join(here, "out");
export const BIN = process.env.NEARNESS_BIN ?? resolve(here, "../../target/release/nearness");
const REPOSITORY = resolve(here, "../..");
const run = promisify(execFile);
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
  "--ignore-gpu-blocklist",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

mkdirSync(OUT, { recursive: true });

/** Runs a nearness command and returns its standard output. */
export async function nearness(...args) {
  const options = { cwd: REPOSITORY, maxBuffer: 1 << 26, env: { ...process.env, NEARNESS_WEB: "none" } };
  return (await run(BIN, args, options)).stdout;
}

/** Creates an empty folder. */
export function folder() {
  return mkdtempSync(join(tmpdir(), "nearness-e2e-"));
}

/** Returns a data directory with words, paragraphs and digits. */
export async function realData() {
  const configured = process.env.NEARNESS_E2E_DATA;
  if (configured) return configured;
  const data = join(OUT, "data");
  if (!existsSync(join(data, ".whole"))) {
    rmSync(data, { recursive: true, force: true });
    await nearness("quickstart", "--once", "--data", data, "--listen", "127.0.0.1:0", "--web", "none");
    mkdirSync(join(data, ".whole"));
  }
  return data;
}

/** Starts a server on free ports. Returns its URLs and a function that stops it. */
export async function serve(data, ...more) {
  const args = ["serve", "--data", data, "--listen", "127.0.0.1:0", "--web", "127.0.0.1:0", "--log-format", "text", ...more];
  const child = spawn(BIN, args, { cwd: REPOSITORY, env: { ...process.env, NEARNESS_LOG: "warn,nearness=info" } });
  let [output, log] = ["", ""];
  child.stdout.on("data", (text) => (output += text));
  child.stderr.on("data", (text) => (log += text));
  const urls = () => [output.match(/http:\/\/(127\.0\.0\.1:\d+)/)?.[0], log.match(/page is at .*?(http:\/\/127\.0\.0\.1:\d+)/)?.[1]];
  for (let attempt = 0; attempt < 1200; attempt += 1) {
    const [grpc, page] = urls();
    if (grpc && page) {
      const exited = new Promise((done) => child.once("exit", done));
      return { grpc, page, end: async () => { child.kill("SIGTERM"); await exited; } };
    }
    if (child.exitCode !== null) break;
    await new Promise((done) => setTimeout(done, 50));
  }
  child.kill("SIGKILL");
  throw new Error(`nearness did not start:\n${output}\n${log}`);
}

export function browser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** Opens a page, and records its errors and the hosts of its requests. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const [errors, hosts] = [[], new Set()];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== "blob:" && protocol !== "data:") hosts.add(host);
  });
  await page.goto(url);
  return { page, context, errors, hosts };
}

/** Waits for the layout of a collection. */
export async function mapReady(page, timeout = 240_000) {
  await page.waitForSelector('.stage[data-layout="ready"]', { timeout });
}

/** Chooses a collection and waits for its layout. */
export async function choose(page, name) {
  await page.selectOption('select[aria-label="Collection"]', name);
  await mapReady(page);
}

/** Draws a 7 on a pad with the mouse. */
export async function drawSeven(page, pad = ".pad") {
  await page.locator(pad).first().scrollIntoViewIfNeeded();
  const box = await page.locator(pad).first().boundingBox();
  const at = (x, y) => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(0.28, 0.25));
  await page.mouse.down();
  await page.mouse.move(...at(0.72, 0.24), { steps: 8 });
  await page.mouse.move(...at(0.45, 0.8), { steps: 12 });
  await page.mouse.up();
}

/** Returns the mean lightness of a screenshot, 0 to 1, computed in the browser. */
export async function lightness(page, png) {
  return page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    let sum = 0;
    for (let at = 0; at < data.length; at += 4) sum += data[at] + data[at + 1] + data[at + 2];
    return sum / (data.length / 4) / 765;
  }, png.toString("base64"));
}
