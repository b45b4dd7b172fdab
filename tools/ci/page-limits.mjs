// The page at its limits: hostile texts, ten thousand adapters, long answers, and what axe-core says of every view.
import assert from "node:assert/strict";
import { act, waitFor } from "./page-actions.mjs";
import { faultsOf, loadAxe } from "./page-axe.mjs";
import { adapterCount, hostile, startFake } from "./page-fake.mjs";
import { checkRaces } from "./page-races.mjs";

/** Nothing that the server sends becomes markup, loads or runs; tables and answers of any length stay quick. */
async function endure(browser, { url }) {
  const page = await browser.open(url);
  const streams = await stream(page);
  const table = await scroll(page);
  const hostility = await act(
    page,
    `const area = one(".adapter-table");
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
    const strange = all("#page script, #page iframe, #page style, #page [onerror], #page [onload], #page img:not(.training, .picture)");
    const links = all("a").map((each) => each.getAttribute("href")).filter((href) => !/^(#|https?:)/.test(href));
    return [strange.length, links, window.hacked ?? null, violations];`,
  );
  assert.deepEqual(hostility, [0, [], null, []]);
  await page.close();
  console.log(
    `Hostile texts stayed text. First paint after ${streams.paint} ms with ${streams.scripts} KB of compressed script; longest task ` +
      `${streams.longest} ms while four columns streamed; 4,000 tokens answered a key in ${streams.keyMs} ms; ${adapterCount} adapters ` +
      `scrolled at ${table.rate} frames a second, of which the page itself took ${table.ownMs} ms each.`,
  );
}

/** Four columns stream, one of them 4,000 tokens; then one is refused in hostile words. Returns what was measured. */
async function stream(page) {
  const { paint, scripts } = await act(
    page,
    `await until(() => all(".column").length === 3, "columns");
    await until(() => all(".presets b").some((each) => each.textContent === "adapter-09999"), "examples of what is used most");
    window.violations = [];
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
      violations.push(violatedDirective + " " + blockedURI));
    window.longest = 0;
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
    }).observe({ type: "longtask" });
    all(".add-column")[0].click();
    await until(() => all(".column").length === 4, "four columns");
    const models = ["base", ${JSON.stringify(hostile)}, "adapter-00002", "adapter-00004"];
    for (const [index, model] of models.entries()) fill(all(".picker")[index], model);
    fill(await field("Max tokens"), "4000");
    await press("Run");
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    const scripts = performance.getEntriesByType("resource").filter(({ initiatorType }) => initiatorType === "script");
    const bytes = scripts.reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0);
    return { paint: Math.round(paint.startTime), scripts: Math.round(bytes / 1000) };`,
  );
  assert.ok(scripts > 0 && scripts <= 150, `${scripts} KB of script`);
  const isIdle = `[...document.querySelectorAll(".ending")].every((each) => each.textContent !== "") && !document.querySelector(".tokens.running")`;
  await waitFor(page, isIdle, "the end of four streams");
  const { tokens, shown, longest, keyMs } = await act(
    page,
    `const tokens = all(".tokens").map((each) => each.querySelectorAll("span[data-index]").length);
    const longestTask = Math.round(longest);
    const pressedAt = performance.now();
    one(".tokens").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    await until(() => one(".probabilities"), "probabilities");
    const keyMs = Math.round(performance.now() - pressedAt);
    const shown = texts()[1].slice(0, 200);
    fill(all(".picker")[3], "adapter-00001");
    fill(await field("Max tokens"), "5");
    await press("Run");
    await until(() => one(".column .fault"), "a hostile error");
    return { tokens, shown, longest: longestTask, keyMs };`,
  );
  assert.deepEqual(tokens, [4000, 1000, 1000, 1000]);
  assert.ok(shown.startsWith(hostile.slice(0, 100)), "markup is shown as text");
  return { paint, scripts, longest, keyMs };
}

const frames = 60;

/** Scrolls the table of ten thousand. Returns the frames a second, and the milliseconds of script, style and layout in each. */
async function scroll(page) {
  await act(page, `location.hash = "#/adapters"; await until(() => one(".rows-in-view .row"), "the table");`);
  await page.send("Performance.enable", { timeDomain: "threadTicks" });
  const ownMs = async () => {
    const { metrics } = await page.send("Performance.getMetrics");
    const own = metrics.filter(({ name }) =>
      ["ScriptDuration", "RecalcStyleDuration", "LayoutDuration"].includes(name),
    );
    return 1000 * own.reduce((sum, { value }) => sum + value, 0);
  };
  const before = await ownMs();
  const { seconds, most, rows } = await act(
    page,
    `const area = one(".adapter-table");
    let most = 0;
    const startedAt = performance.now();
    for (let frame = 0; frame < ${frames}; frame++) {
      area.scrollTop += 120;
      await new Promise(requestAnimationFrame);
      most = Math.max(most, all(".rows-in-view .row").length);
    }
    const seconds = (performance.now() - startedAt) / 1000;
    return { seconds, most, rows: Number(one("[role=table]").getAttribute("aria-rowcount")) };`,
  );
  const after = await ownMs();
  assert.ok(most < 200, `${most} rows are elements`);
  assert.equal(rows, adapterCount + 1);
  const order = await act(
    page,
    `const indices = () => all(".rows-in-view .row").map((row) => Number(row.getAttribute("aria-rowindex")));
    const isOrdered = () => indices().every((index, at, { [at - 1]: before }) => at === 0 || index === before + 1);
    await until(isOrdered, "the order of a table at rest");
    const [focused] = all(".rows-in-view a").slice(12);
    const name = focused.textContent;
    focused.focus();
    one(".adapter-table").scrollTop += 250;
    await seen(() => !isOrdered(), "a table that moves");
    await until(isOrdered, "its order at rest");
    return [name, document.activeElement.textContent];`,
  );
  assert.equal(order[1], order[0], "a row that stays in view keeps the focus");
  return { rate: Math.round(frames / seconds), ownMs: ((after - before) / frames).toFixed(1) };
}

/** axe-core finds nothing in any view, in either theme. */
async function examine(browser, { url }) {
  const page = await browser.open(url);
  await loadAxe(page);
  const views = {
    compare: `await until(() => all(".column").length === 3, "columns"); fill(await field("Max tokens"), "20"); await press("Run"); await until(() => idle() && endings().every((each) => each !== ""), "answers"); one(".check input").click();
      all("[title='Copy as a program']")[0].click(); all(".mix")[0].click();
      const offered = all("#models-2 option").map(({ value }) => value);
      if (!offered.includes("adapter-00005") || offered.includes("adapter-00004")) throw new Error("a classifier is offered as a writer");
      fill(all(".picker")[2], "adapter-00004"); await until(() => named("Open it under Tasks"), "where it is of use");
      one(".tokens span[data-index]").dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));`,
    adapters: `location.hash = "#/adapters"; await until(() => one(".adapter-table"), "the table");`,
    card: `named("adapter-00002", "a").click(); await until(() => one("dialog .markdown"), "a card");`,
    upload: `await press("Replace"); await until(() => one(".drop"), "the dialog");`,
    tasks: `await until(() => { named("Close")?.click(); return !one("dialog"); }, "both dialogs' end");
      location.hash = "#/tasks"; await press("base"); await press("sentence-similarity"); await until(() => one(".model-switch .picker"), "names instead of ten thousand buttons");
      location.hash = "#/adapters?name=adapter-00003"; await press("Try it", "dialog a");
      const canvas = await until(() => one(".picture-input canvas"), "a canvas");
      const { left, top } = canvas.getBoundingClientRect();
      const stroke = (type, x, y) => canvas.dispatchEvent(
        new MouseEvent(type, { bubbles: true, buttons: 1, clientX: left + x, clientY: top + y }),
      );
      canvas.setPointerCapture = () => {};
      stroke("pointerdown", 60, 60); stroke("pointermove", 180, 60); stroke("pointermove", 90, 220); stroke("pointerup", 90, 220);
      await until(() => one(".label-bars li"), "labels of a drawing");
      await until(() => answerers().join() === "digits,adapter-00003", "answers of the base and the adapter");`,
    training: `location.hash = "#/training"; await until(() => all(".job").length === 3 && all(".curves .plot").length === 2, "jobs and their curves");`,
    load: `location.hash = "#/load"; await until(() => one(".chart"), "charts");`,
  };
  const found = [];
  for (const [view, script] of Object.entries(views)) {
    await act(page, `await until(() => one("main h1"), "a view"); ${script}`);
    found.push(...(await faultsOf(page, view)));
  }
  assert.deepEqual(found, []);
  await page.close();
  console.log("axe-core found nothing in seven views and two themes.");
}

export async function checkLimits(browser) {
  const fake = await startFake();
  try {
    await endure(browser, fake);
    await examine(browser, fake);
    await checkRaces(browser, fake);
  } finally {
    fake.stop();
  }
}
