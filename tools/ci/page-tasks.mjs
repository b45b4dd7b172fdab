// What the page does with the shipped task models: a policy plays CartPole and a digit is drawn, each with its base and an adapter.
import assert from "node:assert/strict";
import { act } from "./page-actions.mjs";
import { faultsOf, loadAxe } from "./page-axe.mjs";
import { freePort, startServer } from "./server.mjs";

/** Corners of a 7 with a serif, in parts of the canvas. */
const seven = [
  [0.2, 0.35],
  [0.2, 0.2],
  [0.75, 0.2],
  [0.4, 0.85],
];

/** With reversed motors the base loses the pole at once, and the adapter beside it holds it; the address brings both back. */
async function play(page) {
  const { lost, address, alone } = await act(
    page,
    `await press("policy");
    await press("Play");
    one(".cart input[type=checkbox]").click();
    const verdict = () => one(".verdict").textContent;
    await until(() => verdict().includes("keeps it upright"), "a pole that only the adapter holds");
    const lost = verdict();
    const address = location.hash;
    await press("none");
    await until(() => all(".carts figure").length === 1 && verdict().startsWith("policy lost"), "the base alone");
    const alone = verdict();
    await press("Stop");
    return { lost, address, alone };`,
  );
  const fell = "policy lost the pole after 0\\.\\d s, because each push that it chose went the other way\\.";
  assert.match(
    lost,
    new RegExp(`^${fell} reversed-motors keeps it upright: this adapter has learned to steer with reversed motors\\.$`),
  );
  assert.match(alone, new RegExp(`^${fell} Choose reversed-motors to see it play beside policy\\.$`));
  assert.match(address, /reversed=1$/);
}

/** A drawn 7 is read by the base; turned, only by the adapter for it. */
export async function readSeven(page) {
  const { isBlack, box } = await act(
    page,
    `await press("digits");
    // Before the browser paints it, and before effects that wait for that.
    const canvas = await seen(() => one(".picture-input canvas"), "a sheet");
    const [red, green, blue, alpha] = canvas.getContext("2d").getImageData(9, 9, 1, 1).data;
    canvas.scrollIntoView({ block: "center" });
    const { left, top, width } = canvas.getBoundingClientRect();
    return { isBlack: red + green + blue === 0 && alpha === 255, box: { left, top, width } };`,
  );
  assert.ok(isBlack, "a canvas that can be seen is never cleared after the first stroke");
  const points = seven.map(([x, y]) => ({ x: box.left + x * box.width, y: box.top + y * box.width }));
  const strokes = [
    ["mousePressed", points[0]],
    ...points.slice(1).map((point) => ["mouseMoved", point]),
    ["mouseReleased", points.at(-1)],
  ];
  for (const [type, point] of strokes) {
    await page.send("Input.dispatchMouseEvent", { type, ...point, button: "left", buttons: 1, clickCount: 1 });
  }
  const labels = await act(
    page,
    `const label = (column) => all(".answer-column")[column]?.querySelector(".label-bars li span")?.textContent;
    const answeredBy = (...models) => until(() => answerers().join() === models.join(), "answers of " + models);
    await press("none");
    await answeredBy("digits");
    const drawn = label(0);
    await press("Turn by a quarter");
    await until(() => label(0) !== drawn, "a turned digit that the base misreads");
    await press("quarter-turn");
    await answeredBy("digits", "quarter-turn");
    return [drawn, label(0) === drawn, label(1)];`,
  );
  assert.deepEqual(labels, ["7", false, "7"], "base and adapter answer side by side");
}

/** On a phone the answer lies in view below the sheet, and the sheet grows with the screen. */
async function fitScreens(page) {
  for (const [width, height] of [
    [390, 844],
    [360, 740],
    [3840, 2160],
  ]) {
    const size = { width, height, deviceScaleFactor: 1, mobile: width < 400 };
    await page.send("Emulation.setDeviceMetricsOverride", size);
    const { sheet, answer, shown } = await act(
      page,
      `await until(() => innerWidth === ${width} && innerHeight === ${height}, "the screen's size");
      scrollTo(0, 0);
      await new Promise(requestAnimationFrame);
      const [sheet, answer] = [".sheet", ".task-result"].map((each) => one(each).getBoundingClientRect().toJSON());
      return { sheet, answer, shown: innerHeight };`,
    );
    assert.ok(Math.max(sheet.bottom, answer.bottom) <= shown, `sheet and answer are in view at ${width} x ${height}`);
    if (width < 400)
      assert.ok(sheet.bottom <= answer.top, `the answer does not cover the sheet at ${width} x ${height}`);
    else assert.ok(sheet.width > 560, "the sheet grows with the screen");
  }
  await page.send("Emulation.clearDeviceMetricsOverride");
}

/** An example selects the adapter that it was written for, and the address brings both back. */
async function choosePicture(browser, page) {
  const chosen = await act(
    page,
    `all(".chip").find((each) => each.textContent.startsWith("negative")).click();
    await until(() => answerers().join() === "digits,negative", "answers to the example");
    return [one(".difference").textContent, location.href];`,
  );
  assert.match(chosen[0], /^They differ: digits says “\d”, negative says “4”\.$/);
  const copy = await browser.open(chosen[1]);
  const again = await act(
    copy,
    `await until(() => answerers().length === 2, "the shared example's answers"); return one(".difference").textContent;`,
  );
  assert.equal(again, chosen[0]);
  await copy.close();
  const first = await act(
    page,
    `await press("policy");
    await press("digits");
    await until(() => answerers().length === 2 && !one(".sheet .hint"), "an example to begin with");
    return one(".chip b").textContent === answerers()[1];`,
  );
  assert.ok(first, "the form begins with its first example");
}

/** What an input lacks is said, and answers to an earlier text are not taken for those to a later one. */
async function translate(page) {
  const said = await act(
    page,
    `await press("phrases");
    const text = await field("Text");
    await until(() => text.value !== "", "an example to begin with");
    const isReady = () => !one(".ask button").disabled;
    const begun = [isReady(), one(".ask button").textContent];
    fill(text, " ");
    const missing = [await until(() => one("#missing")?.textContent, "what is missing"), isReady()];
    fill(text, "Chile, in 11 weeks");
    await until(isReady, "a text to ask");
    await press("Ask both");
    const answers = () => all(".answer").map((each) => each.textContent);
    await until(() => answers().length === 2, "two translations");
    const [german, french] = answers();
    fill(text, "two");
    await until(() => one(".asked"), "what the answers belong to");
    return { begun, missing, german, isFrench: french !== german, asked: one(".asked").textContent };`,
  );
  assert.deepEqual(said, {
    begun: [true, "Ask both"],
    missing: ["Write a text first, or choose an example.", false],
    german: "Chile, in 11 Wochen",
    isFrench: true,
    asked: "To “Chile, in 11 weeks”:",
  });
}

/** What only the adapter finds has boxes, and the focus on a row marks one. */
async function findDigits(page) {
  const found = await act(
    page,
    `await press("scenes");
    (await until(() => one(".chip"), "an example")).click();
    const rows = await until(() => all(".found li").length > 1 && all(".found li"), "boxes");
    await until(() => all(".box").length === rows.length, "their picture");
    rows[1].focus();
    await until(() => one(".box.marked"), "a marked box");
    return [all(".box").findIndex((each) => each.matches(".marked")), one(".difference").textContent.slice(0, 33)];`,
  );
  assert.deepEqual(found, [1, "They differ: scenes finds nothing"]);
}

export async function checkTasks(browser) {
  const port = await freePort();
  const models = ["digits", "policy", "phrases", "scenes"].flatMap((name) => ["--model", `models/${name}`]);
  const args = ["dist/src/cli/main.js", "serve", ...models, "--port", String(port), "--log-level", "warn"];
  const stop = await startServer("node", args, `http://127.0.0.1:${port}/ready`);
  try {
    const page = await browser.open(`http://127.0.0.1:${port}/#/tasks`);
    await loadAxe(page);
    await play(page);
    const faults = await faultsOf(page, "CartPole");
    await readSeven(page);
    faults.push(...(await faultsOf(page, "a digit")));
    await fitScreens(page);
    await choosePicture(browser, page);
    await translate(page);
    await findDigits(page);
    assert.deepEqual([...faults, ...(await faultsOf(page, "boxes"))], []);
    await page.close();
  } finally {
    await stop();
  }
  console.log(
    "A policy lost its pole, and an adapter held it; a drawn 7 was read, and turned by another adapter; examples chose their adapters.",
  );
}
