// Uses the page as a person would, in a real browser against a real server.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { adapterCount, hostile, startFake } from "./page-fake.mjs";

/** Functions that every action below may use, in the browser. */
const helpers = `
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const until = async (find, what) => {
    const end = Date.now() + 50000;
    for (;;) {
      const found = find();
      if (found) return found;
      if (Date.now() > end) throw new Error("never: " + what);
      await sleep(20);
    }
  };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);
  const named = (name, selector = "button, a") =>
    all(selector).find((each) => (each.getAttribute("aria-label") ?? each.textContent).trim() === name);
  const press = async (name, selector) => (await until(() => named(name, selector), name)).click();
  const fill = (element, text) => {
    const { set } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(element), "value");
    set.call(element, text);
    element.dispatchEvent(new Event("input", { bubbles: true }));
    element.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const field = (label) =>
    until(() => all("label").find((each) => each.firstChild.textContent.trim() === label)?.querySelector("input, textarea"), label);
  const texts = () => all(".tokens").map((each) => each.textContent);
  const idle = () => !all("button").some((each) => each.textContent.trim() === "Stop");
`;

/** Runs a script in the page; it may use the helpers and \`await\`. */
const act = (page, script) => page.run(`(async () => { ${helpers} ${script} })()`);

/** Waits until an expression holds in the page. */
async function waitFor(page, expression, what) {
  const end = Date.now() + 240_000;
  while (!(await page.run(expression))) {
    assert.ok(Date.now() < end, `never: ${what}`);
    await sleep(250);
  }
}

/** Three columns answer differently; one is stopped while the others go on; the address brings the comparison back. */
async function compare(browser, url) {
  const page = await browser.open(url);
  const models = await act(
    page,
    `await until(() => all(".column").length === 3, "three columns");
    return all(".picker").map((each) => each.value);`,
  );
  assert.equal(new Set(models).size, 3, "the page begins with the base and two adapters");
  const answers = await act(
    page,
    `fill(await field("Max tokens"), "400");
    fill(await field("Prompt"), "ROMEO:");
    fill(all(".picker")[2], "plays");
    await press("Run");
    // What an adapter of dates says to this may be short.
    await until(() => [0, 2].every((at) => texts()[at].length > 10) && texts()[1] !== "", "three streams");
    // The first Escape closes the probabilities; the answers go on.
    const type = (key) => one(".tokens").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    type("ArrowRight");
    await until(() => one(".probabilities"), "the probabilities of the first token");
    type("Escape");
    await until(() => !one(".probabilities"), "their end");
    const before = texts()[0].length;
    all(".column")[2].querySelector("footer button").click();
    await until(() => one(".column:nth-child(3) .ending").textContent === "stopped", "a stopped column");
    const kept = texts();
    await until(() => texts()[0].length > before + 20, "the other columns going on");
    await press("Stop all");
    await until(idle, "all stopped");
    return { kept, now: texts(), states: all(".ending").map((each) => each.textContent) };`,
  );
  assert.equal(answers.now[2], answers.kept[2], "a stopped column keeps its text");
  assert.equal(new Set(answers.now).size, 3, "the columns differ");
  assert.deepEqual([answers.states[0], answers.states[2]], ["stopped", "stopped"]);
  const { href, shown } = await act(
    page,
    `const token = all(".tokens span[data-index]")[3];
    token.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    await until(() => all(".probabilities > div").length >= 5, "the probabilities of a token");
    return { href: location.href, shown: one(".probabilities").textContent };`,
  );
  assert.match(shown, /\d\.\d %/);
  await page.close();
  const copy = await browser.open(href);
  const again = await act(
    copy,
    `await until(() => all(".column").length === 3, "the shared columns");
    return [(await field("Prompt")).value, all(".picker")[2].value, (await field("Max tokens")).value];`,
  );
  assert.deepEqual(again, ["ROMEO:", "plays", "400"]);
  await copy.close();
  console.log("The page compared three columns, stopped one, and came back from its address.");
}

/** Drops files, pairs of a name and the content in base64, as a reader would drop them from a file manager. */
const dropScript = (files, name) => `
  const transfer = new DataTransfer();
  for (const [name, content] of ${JSON.stringify(files)}) {
    transfer.items.add(new File([Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0))], name));
  }
  (await until(() => one(".adapters"), "the adapters")).dispatchEvent(
    new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }),
  );
  fill(await field("Name"), ${JSON.stringify(name)});
`;

/** An adapter is dropped, used, replaced while it answers, refused, and deleted. `files` are those of an adapter. */
async function adapters(browser, url, files) {
  const page = await browser.open(`${url}#/adapters`);
  const added = await act(
    page,
    `${dropScript(files, "bard")}
    await press("Add");
    await until(() => one("dialog a.primary"), "a stored adapter");
    return one("dialog [role=status]").textContent;`,
  );
  assert.match(added, /^bard is added/);
  const replaced = await act(
    page,
    `one("dialog a.primary").click();
    await until(() => all(".picker")[1]?.value === "bard", "a column of the new adapter");
    fill(await field("Prompt"), "JULIET:");
    fill(await field("Max tokens"), "600");
    await press("Run");
    await until(() => texts()[1]?.length > 10, "its stream");
    location.hash = "#/adapters";
    ${dropScript([...files, ["README.md", files[0][1]]], "bard")}
    await press("Replace bard");
    await until(() => one("dialog a.primary"), "a replaced adapter");
    const said = one("dialog [role=status]").textContent;
    await press("Close");
    location.hash = "#/compare";
    await until(() => texts()[1]?.length > 0, "the column that goes on");
    const before = texts()[1].length;
    await until(() => texts()[1].length > before, "its stream going on");
    await press("Stop all");
    await until(idle, "all stopped");
    return { said, ending: all(".ending")[1].textContent };`,
  );
  assert.match(replaced.said, /^bard is replaced/);
  assert.equal(replaced.ending, "stopped");
  const refused = await act(
    page,
    `location.hash = "#/adapters";
    ${dropScript(files.slice(0, 1), "half")}
    await press("Add");
    return (await until(() => one("dialog .fault"), "a refusal")).textContent;`,
  );
  assert.match(refused, /adapter_model\.safetensors is missing/);
  const left = await act(
    page,
    `await press("Close");
    (await until(() => named("bard", "a"), "the row")).click();
    await press("Pin");
    await until(() => named("Unpin"), "a pinned adapter");
    await press("Unpin");
    await until(() => named("Pin"), "an unpinned adapter");
    await press("Delete");
    await press("Delete", "[role=alertdialog] button");
    await until(() => !named("bard", "a"), "the row's end");
    return all(".adapter-table tbody a").map((each) => each.textContent);`,
  );
  assert.deepEqual(left, ["dates", "plays"]);
  await page.close();
  console.log("An adapter was dropped on the page, used, replaced while it answered, refused, pinned and deleted.");
}

/** The charts show that something was generated. */
async function load(browser, url) {
  const page = await browser.open(`${url}#/load`);
  const shown = await act(
    page,
    `await until(() => all(".chart .line").some((each) => each.getAttribute("d").includes("L")), "lines");
    return all(".chart").map((each) => each.getAttribute("aria-label"));`,
  );
  assert.ok(shown.length >= 6, String(shown));
  await page.close();
}

/** Nothing that the server sends becomes markup, loads or runs; tables and answers of any length stay quick. Returns what was measured. */
async function endure(browser, { url }) {
  const page = await browser.open(url);
  const measured = await act(
    page,
    `await until(() => all(".column").length === 3, "columns");
    window.violations = [];
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
      violations.push(violatedDirective + " " + blockedURI));
    let longest = 0;
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
    }).observe({ type: "longtask" });
    all(".add-column")[0].click();
    await until(() => all(".column").length === 4, "four columns");
    fill(all(".picker")[1], ${JSON.stringify(hostile)});
    fill(all(".picker")[2], "base");
    fill(all(".picker")[3], "adapter-00001");
    fill(await field("Max tokens"), "4000");
    await press("Run");
    await until(() => one(".column .fault"), "a hostile error");
    await until(idle, "all tokens");
    const tokens = all(".tokens").map((each) => each.querySelectorAll("span[data-index]").length);
    const streaming = Math.round(longest);
    one(".tokens span[data-index]").dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    await until(() => one(".probabilities"), "probabilities");
    const shown = texts()[0].slice(0, 200);
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    return { tokens, shown, streaming, paint: Math.round(paint.startTime) };`,
  );
  assert.deepEqual(measured.tokens, [4000, 4000, 4000, 0]);
  assert.ok(measured.shown.startsWith(hostile.slice(0, 100)), "markup is shown as text");
  const table = await act(
    page,
    `location.hash = "#/adapters";
    const area = await until(() => one(".adapter-table"), "the table");
    const most = [];
    let frames = 0;
    const startedAt = performance.now();
    for (let at = 0; at <= 60; at++) {
      area.scrollTop += 120;
      await new Promise(requestAnimationFrame);
      frames++;
      most.push(all(".adapter-table tbody tr").length);
    }
    const seconds = (performance.now() - startedAt) / 1000;
    area.scrollTop = area.scrollHeight;
    await until(() => named("adapter-09999", "a"), "the last row");
    area.scrollTop = 0;
    const first = await until(() => named(${JSON.stringify(hostile)}, "a"), "the first row");
    first.click();
    await until(() => one("dialog .markdown"), "the hostile card");
    await until(() => one("dialog img.training")?.complete, "the hostile chart");
    await press("Pin");
    await until(() => one("dialog .fault"), "a hostile refusal");
    await sleep(100);
    const strange = all("#page script, #page iframe, #page style, #page [onerror], #page [onload], #page img:not(.training)");
    const links = all("a").map((each) => each.getAttribute("href")).filter((href) => !/^(#|https?:)/.test(href));
    return { most: Math.max(...most), rate: Math.round(frames / seconds), rows: one("table").ariaRowCount ?? one("table").getAttribute("aria-rowcount"),
      strange: strange.length, links, hacked: window.hacked ?? null, violations };`,
  );
  assert.ok(table.most < 200, `${table.most} rows are elements`);
  assert.equal(Number(table.rows), adapterCount + 1);
  assert.deepEqual([table.strange, table.links, table.hacked, table.violations], [0, [], null, []]);
  await page.close();
  console.log(
    `Hostile texts stayed text. First paint after ${measured.paint} ms; longest task ${measured.streaming} ms while columns of ` +
      `4,000 tokens streamed; ${adapterCount} adapters scrolled at ${table.rate} frames a second.`,
  );
}

/** axe-core finds nothing in any view, in either theme. Themes differ in colours alone. */
async function examine(browser, { url }) {
  const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const page = await browser.open(url);
  await page.run(`${axe}; 0`);
  const views = {
    compare: `await until(() => all(".column").length === 3, "columns"); fill(await field("Max tokens"), "20"); await press("Run"); await until(idle, "an answer"); one(".check input").click();
      all("[aria-label='Copy as a program']")[0].click(); all(".mix")[0].click(); one(".tokens span[data-index]").dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));`,
    adapters: `location.hash = "#/adapters"; await until(() => one(".adapter-table"), "the table");`,
    card: `named("adapter-00002", "a").click(); await until(() => one("dialog .markdown"), "a card");`,
    upload: `await press("Replace"); await until(() => one(".drop"), "the dialog");`,
    tasks: `await until(() => { named("Close")?.click(); return !one("dialog"); }, "both dialogs' end");
      location.hash = "#/adapters?name=adapter-00003"; await press("Try it", "dialog a");
      const canvas = await until(() => one(".picture-input canvas"), "a canvas");
      const { left, top } = canvas.getBoundingClientRect();
      const stroke = (type, x, y) => canvas.dispatchEvent(
        new MouseEvent(type, { bubbles: true, buttons: 1, clientX: left + x, clientY: top + y }),
      );
      canvas.setPointerCapture = () => {};
      stroke("pointerdown", 60, 60); stroke("pointermove", 180, 60); stroke("pointermove", 90, 220); stroke("pointerup", 90, 220);
      await until(() => one(".label-bars li"), "labels of a drawing");
      await until(() => one(".task-result .muted").textContent.startsWith("adapter-00003, "), "the adapter's name");`,
    load: `location.hash = "#/load"; await until(() => one(".chart"), "charts");`,
  };
  const found = [];
  for (const [view, script] of Object.entries(views)) {
    await act(page, `await until(() => one("main h1"), "a view"); ${script}`);
    for (const theme of ["light", "dark"]) {
      const faults = await act(
        page,
        `document.documentElement.dataset.theme = ${JSON.stringify(theme)};
        const rules = ${JSON.stringify(theme)} === "light" ? {} : { runOnly: ["color-contrast"] };
        const { violations } = await axe.run(document, { resultTypes: ["violations"], ...rules });
        return violations.map(({ id, nodes }) => id + ": " + nodes.map(({ html, any }) => html.slice(0, 160) + " " + (any[0]?.message ?? "")).join("; "));`,
      );
      found.push(...faults.map((fault) => `${view}, ${theme}: ${fault}`));
    }
  }
  assert.deepEqual(found, []);
  await page.close();
  console.log("axe-core found nothing in six views and two themes.");
}

/** A key is asked for, a wrong one refused in the server's words; the tab keeps the right one, over a restart of the server too. */
export async function checkKeys(browser, { url, key, restart }) {
  const page = await browser.open(`${url}#/compare?prompt=From+the+address`);
  const refusal = await act(
    page,
    `fill(await field("API key"), "wrong");
    await press("Continue");
    return (await until(() => one(".fault"), "a refusal")).textContent;`,
  );
  assert.match(refusal, /^The API key is not one of this server's/);
  const kept = await act(
    page,
    `fill(await field("API key"), ${JSON.stringify(key)});
    await press("Continue");
    await until(() => all(".column").length > 0, "the columns");
    fill(await field("Prompt"), "Typed since");
    fill(await field("Max tokens"), "900");
    await press("Run");
    await until(() => texts()[0].length > 10, "a stream");
    return [Object.values(sessionStorage), JSON.stringify(localStorage)];`,
  );
  assert.deepEqual(kept, [[key], "{}"]);
  await restart();
  const [said, typed] = await act(
    page,
    `await until(() => one(".state.ready"), "the server again");
    await press("Run");
    await until(() => texts()[0].length > 10, "a stream after the restart");
    await press("Stop all");
    return [one(".notice").textContent, (await field("Prompt")).value];`,
  );
  assert.match(said, /^The server was restarted\./);
  assert.equal(typed, "Typed since");
  const other = await browser.open(url);
  assert.ok(await act(other, `return (await field("API key")).value === "";`), "another tab asks for itself");
  await other.close();
  await page.close();
  console.log("The page asked for a key, said why a wrong one is wrong, and found the server again after its restart.");
}

/** The pictures of the README, as the page is now. */
async function takePictures(browser, url) {
  const page = await browser.open(url);
  const take = async (name, script, theme) => {
    await page.send("Emulation.setDeviceMetricsOverride", {
      width: 1200,
      height: 760,
      deviceScaleFactor: 1,
      mobile: false,
    });
    await act(page, `document.documentElement.dataset.theme = "${theme}"; ${script}`);
    const { data } = await page.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(`docs/${name}.png`, data, "base64");
  };
  await take(
    "page-compare",
    `(await until(() => all(".chip").find((each) => each.textContent.startsWith("plays")), "an example")).click();
    await until(() => texts()[1]?.length > 10, "a stream");
    await until(idle, "its end");
    one(".check input").click();
    await sleep(300);`,
    "light",
  );
  await take(
    "page-adapter",
    `location.hash = "#/adapters?name=plays"; await until(() => one("dialog img.training")?.complete, "a card"); await sleep(300);`,
    "dark",
  );
  await page.close();
}

/** Rows are dropped, a job runs on them, is paused and resumed, and its adapter answers. */
async function train(browser, url) {
  const page = await browser.open(`${url}#/training`);
  const rows = Array.from({ length: 30 }, (_, i) => ({ prompt: `Say ${i}:`, completion: ` the number is ${i}.` }));
  await act(
    page,
    `const transfer = new DataTransfer();
    transfer.items.add(new File([${JSON.stringify(rows.map((row) => JSON.stringify(row)).join("\n"))}], "numbers.jsonl"));
    const view = await until(() => one("section[aria-label=Training]"), "the view");
    view.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
    await until(() => one(".rows")?.textContent.includes("Say 0:"), "a look at the rows");
    fill(await field("Epochs"), "1");
    await press("Start");
    await press("Pause");
    await press("Resume");`,
  );
  // Longer than a call of the protocol may take: two processes start for it.
  await waitFor(page, `document.querySelector(".job .tag.succeeded") !== null`, "a published job");
  const product = await act(
    page,
    `await until(() => one(".curves .line"), "its curve");
    one(".job a.primary").click();
    await until(() => all(".picker").length === 2, "a comparison");
    fill(await field("Max tokens"), "5");
    await press("Run");
    await until(() => texts()[1] !== "", "an answer of the product");
    return all(".picker")[1].value;`,
  );
  assert.match(product, /^ft:.*numbers/);
  await page.close();
  console.log("Rows were dropped, a job on them paused, resumed and published, and its adapter answered.");
}

export async function checkPage(browser, url, files) {
  await compare(browser, url);
  await adapters(browser, url, files);
  await load(browser, url);
  if (process.env.LONG === "1") await train(browser, url);
  if (process.env.LORIKEET_UPDATE_DOCS === "1") await takePictures(browser, url);
  const fake = await startFake();
  try {
    await endure(browser, fake);
    await examine(browser, fake);
  } finally {
    fake.stop();
  }
}
