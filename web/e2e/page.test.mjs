// The page in a real browser, against a real server with the collections of the quickstart.
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { browser as launch, choose, drawSeven, folder, lightness, mapReady, nearness, open, OUT, realData, serve } from "./harness.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let [server, browser] = [null, null];

before(async () => {
  server = await serve(await realData());
  browser = await launch();
}, { timeout: 600_000 });
after(async () => {
  await browser?.close();
  await server?.end();
});

/** Opens a view, runs `check`, and asserts that the console has no errors and no other host was contacted. */
async function visit(view, check, options) {
  const { page, context, errors, hosts } = await open(browser, `${server.page}/#/${view}`, options);
  try {
    await check(page, context);
    assert.deepEqual(errors, [], "the console has errors");
    assert.deepEqual([...hosts], [new URL(server.page).host], "requests to other hosts");
  } finally {
    await context.close();
  }
}

const ids = (page) => page.$$eval(".hits li", (items) => items.map((item) => item.dataset.id));

describe("search", () => {
  test("alligator finds crocodiles, in the list and on the map", async () => {
    await visit("search", async (page) => {
      await choose(page, "words");
      await page.fill('input[type="search"]', "alligator");
      await page.keyboard.press("Enter");
      await page.waitForSelector('.hits li[data-id="crocodiles"]');
      assert.match(await page.textContent(".cost"), /Distances/);
      await page.click('.hits li[data-id="crocodiles"] button');
      await page.waitForSelector(".stage-card li");
      assert.match(await page.textContent(".stage-card"), /^crocodiles/);
      // The query has a position on the map.
      await page.waitForSelector(".stage[data-dot]");
    });
  });

  test("king - man + woman is a queen", async () => {
    await visit("search", async (page) => {
      await choose(page, "words");
      await page.fill('input[type="search"]', "king - man + woman");
      await page.keyboard.press("Enter");
      await page.waitForSelector(".hits li");
      assert.ok((await ids(page)).slice(0, 5).includes("queen"), String(await ids(page)));
      assert.match(await page.textContent(".says"), /king \+ woman − man/);
    });
  });

  test("the ___ cat lists the words for the blank", async () => {
    await visit("search", async (page) => {
      await choose(page, "words");
      await page.click('.chip:has-text("the ___ cat")');
      await page.waitForSelector(".hits li");
      assert.equal((await ids(page)).length, 10);
      assert.match(await page.textContent(".hits"), /%/);
    });
  });

  test("words are found and marked, alone and with the meaning", async () => {
    await visit("search", async (page) => {
      await choose(page, "paragraphs");
      await page.click("summary");
      for (const by of ["keywords", "hybrid"]) {
        await page.selectOption('select[aria-label="Find by"]', by);
        await page.fill('input[type="search"]', "storms and harbour");
        await page.keyboard.press("Enter");
        await page.waitForFunction((text) => document.querySelector(".says")?.textContent.includes(text), by === "hybrid" ? "meaning and words" : "by words");
        await page.waitForSelector(".hits mark");
        const words = await page.$$eval(".hits mark", (marks) => marks.map((mark) => mark.textContent.toLowerCase()));
        assert.ok(words.every((word) => /^(storm|harbour)/.test(word)), String(words));
      }
      assert.match(await page.textContent(".cost"), /candidates/);
      await page.fill(".why input", (await ids(page))[0]);
      await page.click(".why button");
      await page.waitForFunction(() => /queries\[1\]: rank/.test(document.querySelector(".reason")?.textContent ?? ""));
    });
  });

  test("a click on a value of a field filters the search, and another one removes the filter", async () => {
    const file = join(folder(), "facets.jsonl");
    const kinds = ["<img src=x onerror=alert(1)>", "plant", "7"];
    const lines = Array.from({ length: 12 }, (_, n) => JSON.stringify({ id: `p${n}`, vector: [n, 1], kind: n % 4 === 3 ? 7 : kinds[n % 4] }));
    writeFileSync(file, `${lines.join("\n")}\n`);
    await nearness("load", "--server", server.grpc, "--collection", "facets", "--metric", "l2", file);
    try {
      await visit("search", async (page) => {
        await choose(page, "facets");
        await page.fill('input[type="search"]', "p0");
        await page.keyboard.press("Enter");
        await page.waitForSelector(".hits li");
        await page.fill('input[aria-label="Count the values of"]', "kind");
        await page.keyboard.press("Tab");
        await page.waitForSelector(".facet");
        const values = () => page.$$eval(".facet", (all) => all.map((one) => [one.querySelector(".facet-value").textContent, one.querySelector(".number").textContent, one.getAttribute("aria-pressed")]));
        // The number and the text are two values; no text is parsed as HTML.
        assert.deepEqual((await values()).sort(), [['"7"', "3", "false"], ["7", "3", "false"], [kinds[0], "3", "false"], ["plant", "3", "false"]].sort());
        assert.equal(await page.locator(".facets img").count(), 0);
        const found = (expected) => page.waitForFunction((wanted) => [...document.querySelectorAll(".hits li")].map((one) => one.dataset.id).sort().join() === wanted, [...expected].sort().join());
        await page.click('.facet:has-text("<img")');
        await found(["p4", "p8"]);
        await page.waitForFunction(() => document.querySelectorAll(".facet").length === 1);
        assert.deepEqual(await values(), [[kinds[0], "3", "true"]]);
        // By keyboard: the value keeps the focus.
        assert.equal(await page.evaluate(() => document.activeElement.className), "facet");
        await page.keyboard.press("Space");
        await page.waitForFunction(() => document.querySelectorAll(".facet").length === 4);
        for (const [value, expected] of [['"7"', ["p2", "p6", "p10"]], ["7", ["p3", "p7", "p11"]]]) {
          await page.locator(".facet").filter({ has: page.getByText(value, { exact: true }) }).focus();
          await page.keyboard.press("Enter");
          await found(expected);
          await page.waitForFunction(() => document.querySelectorAll('.facet[aria-pressed="true"]').length === 1);
          await page.keyboard.press("Enter");
          await page.waitForFunction(() => document.querySelectorAll(".facet").length === 4);
        }
      });
    } finally {
      await nearness("collections", "delete", "--server", server.grpc, "facets");
    }
  });

  test("integers beyond 2^53 keep their digits in names and filters", async () => {
    const file = join(folder(), "integers.jsonl");
    const numbers = { a: "1", b: "9007199254740992", c: "9007199254740993", d: "18446744073709551615" };
    writeFileSync(file, Object.entries(numbers).map(([id, digits], n) => `{"id": "${id}", "vector": [${n}, 1], "title": ${digits}}\n`).join(""));
    await nearness("load", "--server", server.grpc, "--collection", "integers", "--metric", "l2", file);
    try {
      await visit("search", async (page) => {
        await choose(page, "integers");
        await page.fill('input[type="search"]', "a");
        await page.keyboard.press("Enter");
        await page.waitForFunction(() => document.querySelectorAll(".hits li").length === 3);
        const text = await page.textContent(".hits");
        for (const id of ["b", "c", "d"]) assert.ok(text.includes(numbers[id]), text);
        await page.click("summary");
        await page.click("text=Add a condition");
        await page.fill(".condition .field", "title");
        await page.selectOption(".condition .op", "equals");
        for (const id of ["c", "d"]) {
          await page.fill(".condition .value", numbers[id]);
          await page.click('button:has-text("Search")');
          await page.waitForFunction((wanted) => [...document.querySelectorAll(".hits li")].map((one) => one.dataset.id).join() === wanted, id);
        }
      });
    } finally {
      await nearness("collections", "delete", "--server", server.grpc, "integers");
    }
  });

  test("filters, exact search and explanations", async () => {
    await visit("search", async (page) => {
      await choose(page, "words");
      await page.fill('input[type="search"]', "alligator");
      await page.click("summary");
      await page.selectOption('select[aria-label="Accuracy"]', "exact");
      await page.click("text=Add a condition");
      await page.fill(".condition .field", "count");
      await page.selectOption(".condition .op", "gte");
      await page.fill(".condition .value", "1000");
      await page.click('button:has-text("Search")');
      await page.waitForSelector(".cost");
      assert.match(await page.textContent(".cost"), /exact result.*Filter matches/s);
      const reasons = [];
      for (const id of ["crocodiles", "no-such-word"]) {
        await page.fill(".why input", id);
        await page.click(".why button");
        await page.waitForFunction((before) => {
          const text = document.querySelector(".reason")?.textContent;
          return text && text !== before;
        }, reasons.at(-1) ?? null);
        reasons.push(await page.textContent(".reason"));
      }
      assert.match(reasons[1], /no point/);
      assert.ok(reasons[0].length > 10 && reasons[0] !== reasons[1]);
    });
  });

  test("an invalid target recall shows the server's message", async () => {
    await visit("search", async (page) => {
      await choose(page, "words");
      await page.fill('input[type="search"]', "alligator");
      await page.click("summary");
      await page.selectOption('select[aria-label="Accuracy"]', "recall");
      await page.fill('input[aria-label="Target recall or ef"]', "7");
      await page.click('button:has-text("Search")');
      await page.waitForSelector(".failure");
      assert.match(await page.textContent(".failure"), /recall/);
    });
  });

  test("an opened picture finds similar pictures", async () => {
    await visit("draw", async (page) => {
      await mapReady(page);
      await drawSeven(page);
      await page.waitForSelector(".verdict b");
      const png = await page.evaluate(() => document.querySelector(".pad").toDataURL("image/png").split(",")[1]);
      await page.click('nav a:has-text("Search")');
      await page.setInputFiles(".search input[type=file]", { name: "seven.png", mimeType: "image/png", buffer: Buffer.from(png, "base64") });
      await page.waitForSelector(".search .hits li");
      assert.equal((await ids(page)).length, 10);
    });
  });
});

describe("names", () => {
  test("the page opens with the collection of words", async () => {
    await visit("search", async (page) => {
      await mapReady(page);
      assert.equal(await page.inputValue('select[aria-label="Collection"]'), "words");
      assert.match(await page.getAttribute('input[type="search"]', "placeholder"), /a word/);
    });
  });

  test("hits of texts show title and text, and the map labels them by title", async () => {
    await visit("search", async (page) => {
      await choose(page, "paragraphs");
      await page.fill('input[type="search"]', "a storm destroyed the harbour");
      await page.keyboard.press("Enter");
      await page.waitForSelector(".hits li");
      const first = await page.locator(".hits li").first();
      const [name, text, id] = await Promise.all([first.locator("b").textContent(), first.locator("small").first().textContent(), first.getAttribute("data-id")]);
      assert.ok(name && name !== id, `the hit is named ${name}`);
      assert.ok(text.length > 40, `the hit shows the text ${text}`);
      await first.locator("button").click();
      await page.waitForSelector(".stage-card li");
      assert.equal(await page.textContent(".stage-card header strong"), name);
    });
  });

  test("a collection of pictures suggests stored points", async () => {
    await visit("search", async (page) => {
      await choose(page, "digits");
      await page.waitForSelector('.chip:has-text("digit-")');
      await page.click('.chip:has-text("digit-")');
      await page.waitForSelector(".hits li");
    });
  });

  test("an empty server shows how to load data", async () => {
    const data = folder();
    const empty = await serve(data);
    const { page, context, errors } = await open(browser, empty.page);
    try {
      await page.waitForSelector(".welcome code");
      assert.match(await page.textContent(".welcome"), /nearness quickstart/);
      assert.ok(!(await page.isVisible(".stage")), "the map is hidden");
      await page.click('.welcome a:has-text("Draw a digit")');
      await drawSeven(page);
      await page.waitForSelector(".verdict b");
      assert.deepEqual(errors, []);
    } finally {
      await context.close();
      await empty.end();
      rmSync(data, { recursive: true, force: true });
    }
  });
});

describe("draw", () => {
  test("a drawn 7 is classified as 7, and sevens are listed", async () => {
    await visit("draw", async (page) => {
      await mapReady(page);
      await drawSeven(page);
      await page.waitForFunction(() => document.querySelector(".verdict b")?.dataset.digit === "7", null, { timeout: 20_000 });
      await page.waitForSelector(".draw .hits li");
      const labels = await page.$$eval(".draw .hits small", (items) => items.map((item) => item.textContent));
      const sevens = labels.filter((label) => label === "label 7").length;
      assert.ok(sevens >= 5, `of the nearest ${labels.length} are sevens: ${sevens}`);
      await page.waitForSelector(".stage[data-dot]");
      // The dot moves while drawing continues.
      const before = await page.getAttribute(".stage", "data-dot");
      const box = await page.locator(".pad").boundingBox();
      await page.mouse.move(box.x + 60, box.y + 160);
      await page.mouse.down();
      await page.mouse.move(box.x + 130, box.y + 130, { steps: 12 });
      await page.mouse.up();
      await page.waitForFunction((old) => document.querySelector(".stage").dataset.dot !== old, before);
      await page.click("text=Clear");
      await page.waitForFunction(() => document.querySelectorAll(".draw .hits li").length === 0);
    });
  });

  test("drawing with the keyboard", async () => {
    await visit("draw", async (page) => {
      await mapReady(page);
      await page.focus(".pad");
      await page.keyboard.press("ArrowUp");
      await page.keyboard.press("Space");
      for (let step = 0; step < 10; step += 1) await page.keyboard.press("ArrowDown");
      await page.waitForFunction(() => document.querySelector(".verdict b")?.dataset.digit === "1", null, { timeout: 20_000 });
    });
  });
});

test("inside the net: every layer for two digits, and their difference", async () => {
  await visit("net", async (page) => {
    await drawSeven(page, "figure:nth-of-type(1) .pad");
    await page.waitForSelector('.layer[data-layer="probabilities"] .cell[data-which="first"]');
    assert.equal(await page.locator(".layer[data-layer]").count(), 11);
    const box = await page.locator("figure:nth-of-type(2) .pad").boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height * 0.2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height * 0.8, { steps: 10 });
    await page.mouse.up();
    await page.waitForSelector('.layer[data-layer="features"] .cell[data-which="difference"] canvas');
    const best = await page.textContent('.layer[data-layer="probabilities"] .cell[data-which="first"] .best .bar-label');
    assert.equal(best, "7");
  });
});

test("a point inserted by another client appears on the map", async () => {
  await visit("search", async (page) => {
    await choose(page, "words");
    const before = Number(await page.getAttribute(".stage", "data-points"));
    const file = join(folder(), "new.jsonl");
    writeFileSync(file, `${JSON.stringify({ id: "e2e-newcomer", text: "crocodile" })}\n`);
    await nearness("load", "--server", server.grpc, "--collection", "words", file);
    await page.waitForFunction((count) => Number(document.querySelector(".stage").dataset.points) > count, before, { timeout: 20_000 });
    await nearness("delete", "--server", server.grpc, "words", "e2e-newcomer");
    await page.waitForFunction((count) => Number(document.querySelector(".stage").dataset.points) === count, before, { timeout: 20_000 });
  });
});

test("the map in three dimensions, the lasso, and a click", async () => {
  await visit("search", async (page) => {
    // Waits for the best layout, not only the first one.
    await page.selectOption('select[aria-label="Collection"]', "digits");
    await mapReady(page);
    assert.match(await page.textContent(".stage-status"), /10,00\d points/);
    const box = await page.locator(".stage-view").boundingBox();
    await page.click('.tool:has-text("Lasso")');
    await page.mouse.move(box.x + box.width * 0.2, box.y + box.height * 0.2);
    await page.mouse.down();
    for (const [x, y] of [[0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]) await page.mouse.move(box.x + box.width * x, box.y + box.height * y, { steps: 5 });
    await page.mouse.up();
    await page.waitForSelector(".stage-card:not([hidden])");
    assert.match(await page.textContent(".stage-card strong"), /[1-9][\d,]* selected/);
    await page.click(".stage-card .link");
    await page.waitForFunction(() => document.querySelectorAll(".stage-card .number").length === 10);
    await page.click('.tool:has-text("3-D")');
    await mapReady(page);
    await page.mouse.move(box.x + 300, box.y + 300);
    await page.mouse.down();
    await page.mouse.move(box.x + 420, box.y + 260, { steps: 6 });
    await page.mouse.up();
  });
});

test("collections, and recall against speed with progress", async () => {
  await visit("collections", async (page) => {
    const card = page.locator('.card[data-name="digits"]');
    await card.locator("text=10,0").first().waitFor();
    assert.match(await card.textContent(), /Points.*Segments.*mapped are in memory/s);
    await card.locator('button:has-text("Measure recall")').click();
    await card.locator("svg.curve circle.mark").nth(7).waitFor({ timeout: 120_000 });
    await page.waitForFunction(() => /[0-9.]+ queries, [0-9.]+ writes/.test(document.querySelector(".rates")?.textContent ?? ""));
  });
});

describe("keys", () => {
  test("an invalid key is refused, a valid one gives access", async () => {
    const data = folder();
    const { key, sha256 } = JSON.parse(await nearness("key", "new", "--name", "e2e", "--role", "read", "--collection", "*", "--json"));
    const config = join(folder(), "nearness.toml");
    writeFileSync(config, `[[access.keys]]\nname = "e2e"\nsha256 = "${sha256}"\nrole = "read"\ncollections = ["*"]\n`);
    const guarded = await serve(data, "--config", config);
    const { page, context } = await open(browser, guarded.page);
    try {
      await page.waitForSelector("dialog[open]");
      await page.fill("dialog input", "nrn_0000000000000000000000000000000000000000000000000000000000000000");
      await page.click("dialog button");
      await page.waitForFunction(() => /unknown to the server/.test(document.querySelector("dialog[open] [role=alert]")?.textContent ?? ""));
      await page.fill("dialog input", key);
      await page.click("dialog button");
      await page.waitForFunction(() => !document.querySelector("dialog[open]") && [...document.querySelectorAll("button")].some((one) => one.textContent === "Key" && !one.hidden));
      assert.equal(await page.evaluate(() => document.cookie), "");
      assert.equal(await page.evaluate(() => Object.values(localStorage).join()), "");
    } finally {
      await context.close();
      await guarded.end();
      rmSync(data, { recursive: true, force: true });
    }
  });
});

describe("appearance", () => {
  const views = ["search", "draw", "net", "collections"];
  for (const colorScheme of ["light", "dark"]) {
    test(`every view in ${colorScheme}, without violations of accessibility`, async () => {
      for (const view of views) {
        for (const width of [1280, 360]) {
          // The content security policy is bypassed, because it forbids injecting axe.
          await visit(view, async (page) => {
            if (view === "search" || view === "draw") await mapReady(page);
            if (view === "search") {
              await choose(page, "words");
              await page.fill('input[type="search"]', "alligator");
              await page.keyboard.press("Enter");
              await page.waitForSelector(".cost");
            }
            if (view === "draw" || view === "net") await drawSeven(page);
            if (view === "draw") await page.waitForSelector(".draw .cost");
            if (view === "net") await page.waitForSelector('.layer[data-layer="probabilities"]');
            if (view === "collections") await page.waitForSelector(".card dd");
            await page.waitForTimeout(400);
            const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
            assert.ok(wide <= 0, `${view} is ${wide} pixels too wide at ${width}`);
            const picture = await page.screenshot({ path: join(OUT, `${view}-${colorScheme}-${width}.png`) });
            const light = await lightness(page, picture);
            assert.ok(colorScheme === "dark" ? light < 0.3 : light > 0.7, `${view} has lightness ${light} in ${colorScheme}`);
            await page.evaluate(axe);
            const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
            const messages = violations.map((one) => `${view} ${width} ${colorScheme}: ${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).join("\n  ")}`);
            assert.deepEqual(messages, []);
          }, { colorScheme, viewport: { width, height: width === 360 ? 740 : 800 }, bypassCSP: true });
        }
      }
    });
  }

  test("the selected theme persists", async () => {
    await visit("collections", async (page) => {
      const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const light = await ground();
      await page.click('[aria-label="Theme: auto"]');
      await page.click('[aria-label="Theme: light"]');
      await page.waitForSelector('[aria-label="Theme: dark"]');
      assert.notEqual(await ground(), light);
      await page.reload();
      assert.notEqual(await ground(), light);
    });
  });
});
