// The page without a mouse: every control of every view can be reached and seen to have the focus, dialogs give it back, and an adapter that is
// downloaded can be uploaded again.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { act } from "./page-actions.mjs";

const keys = { Tab: [9], Enter: [13, "\r"], Escape: [27], ArrowLeft: [37] };

async function press(page, key) {
  const [windowsVirtualKeyCode, text] = keys[key];
  const event = { key, code: key, windowsVirtualKeyCode, text };
  await page.send("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", ...event });
  await page.send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
}

/** What can have the focus, in the order of the document. */
const stops = `[...document.querySelectorAll("a[href], button, input, select, textarea, [tabindex='0']")].filter(
  (each) => !each.disabled && each.tabIndex >= 0 && each.checkVisibility() && !(document.querySelector("dialog") && !each.closest("dialog")))`;

/** The place of the focus among them, -1 if it is elsewhere, and what is wrong with how it looks. */
const focus = `(() => {
  const element = document.activeElement;
  const { outlineStyle } = getComputedStyle(element);
  const { width, top, bottom } = element.getBoundingClientRect();
  const place = ${stops}.indexOf(element);
  const isSeen = outlineStyle !== "none" && width > 0 && bottom > 0 && top < innerHeight;
  return { place, fault: place < 0 || isSeen ? null : element.outerHTML.slice(0, 120) };
})()`;

/** How many stops a view has once two looks find the same ones: what is read from the server may still add some. */
async function settledCount(page) {
  for (let before = -1; ; ) {
    const count = await page.run(`${stops}.length`);
    if (count === before) return count;
    before = count;
    await sleep(100);
  }
}

/** The Tab key visits every stop once, in order, and each shows that it has the focus. */
async function walk(page, view) {
  const count = await settledCount(page);
  const visited = [];
  const faults = [];
  while (visited.length <= count) {
    await press(page, "Tab");
    const { place, fault } = await page.run(focus);
    if (place >= 0 && visited.includes(place)) break;
    if (place >= 0) visited.push(place);
    if (fault !== null) faults.push(fault);
  }
  assert.deepEqual(faults, [], `what has the focus in ${view} shows it`);
  const first = visited.indexOf(0);
  const inOrder = [...visited.slice(first), ...visited.slice(0, first)];
  assert.deepEqual(inOrder, [...Array(count).keys()], `the Tab key goes through ${view} in order`);
  return count;
}

const focused = (page) =>
  page.run(`(document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent).trim()`);

/** Whether something holds before long. */
async function soon(find, what) {
  for (let tries = 0; tries < 4_000; tries++) {
    const found = await find();
    if (found) return found;
    await sleep(25);
  }
  return assert.fail(`never: ${what}`);
}

async function walkViews(page) {
  let count = 0;
  for (const [view, ready] of Object.entries({
    compare: `all(".column").length > 1`,
    adapters: `named("plays", "a")`,
    training: `named("Start a job") && one(".trained")`,
    // The charts show that something was generated.
    load: `all(".chart").length >= 6 && all(".chart .line").some((each) => each.getAttribute("d").includes("L"))`,
  })) {
    await act(
      page,
      `location.hash = "#/${view}"; await until(() => ${ready}, "${view}"); document.activeElement.blur();`,
    );
    count += await walk(page, view);
  }
  // Places of a chart can be read with the arrow keys; from the first link, the content is one key away, and the view stays.
  await act(page, `one(".chart .plot").focus();`);
  const isPast = `document.querySelector(".chart .plot").ariaValueText.includes("s ago")`;
  await soon(async () => {
    await press(page, "ArrowLeft");
    return page.run(isPast);
  }, "a moment before the last");
  await act(page, `one(".skip").focus();`);
  await press(page, "Enter");
  assert.deepEqual(await page.run(`[document.activeElement.id, location.hash]`), ["content", "#/load"]);
  return count;
}

/** Opens a card from its row. */
async function openCard(page, name) {
  await act(page, `location.hash = "#/adapters"; (await until(() => named("${name}", "a"), "the row")).focus();`);
  await press(page, "Enter");
  await act(
    page,
    `await until(() => one("dialog[open] .facts") && document.activeElement.closest("dialog"), "its card");`,
  );
}

/** Escape leaves the question of a deletion, then the card; an answered one leaves the focus on the page. */
async function remove(page, name) {
  await openCard(page, name);
  await act(page, `await until(() => one("dialog .markdown"), "the README");`);
  await walk(page, "a card");
  const ask = async () => {
    await act(page, `(await until(() => named("Delete"), "Delete")).focus();`);
    await press(page, "Enter");
    await soon(async () => (await focused(page)) === "Keep", "the question");
  };
  await ask();
  await press(page, "Escape");
  await soon(async () => (await focused(page)) === "Delete", "the card again");
  await press(page, "Escape");
  const isClosed = `!document.querySelector("dialog")`;
  await soon(async () => (await page.run(isClosed)) && (await focused(page)) === name, "the row");
  await press(page, "Enter");
  await ask();
  await press(page, "Tab");
  await press(page, "Enter");
  await soon(() => page.run(isClosed), "the end of the card");
  await soon(() => page.run("document.activeElement !== document.body"), "the focus on the page");
}

/** Saves an adapter's tar by a key and by a click, and adds one of them under another name. */
async function saveAndAdd(page, url, folder) {
  await page.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: folder });
  await openCard(page, "plays");
  const path = join(folder, "plays.tar");
  const saved = async () => {
    await soon(() => existsSync(path), "a saved tar");
    const tar = readFileSync(path);
    rmSync(path);
    return tar;
  };
  const box = await act(
    page,
    `named("Download").focus();
    const { left, top, width, height } = named("Download").getBoundingClientRect();
    return { x: left + width / 2, y: top + height / 2 };`,
  );
  await press(page, "Enter");
  const byKey = await saved();
  for (const type of ["mousePressed", "mouseReleased"]) {
    await page.send("Input.dispatchMouseEvent", { type, ...box, button: "left", clickCount: 1 });
  }
  assert.ok(byKey.equals(await saved()), "a key and a click save the same tar");
  writeFileSync(path, byKey);
  const weights = execFileSync("tar", ["-xOf", path, "adapter_model.safetensors"], { maxBuffer: 2 ** 28 });
  assert.ok(
    weights.equals(readFileSync("adapters/plays/adapter_model.safetensors")),
    "its weights are those of the adapter",
  );
  await press(page, "Escape");
  await act(
    page,
    `await until(() => !one("dialog"), "the end of the card"); (await until(() => named("Add an adapter"), "the button")).focus();`,
  );
  await press(page, "Enter");
  await act(page, `await until(() => one("dialog[open] .drop"), "the dialog");`);
  const { root } = await page.send("DOM.getDocument");
  const { nodeId } = await page.send("DOM.querySelector", {
    nodeId: root.nodeId,
    selector: "dialog input[type=file][multiple]",
  });
  await page.send("DOM.setFileInputFiles", { nodeId, files: [path] });
  await act(
    page,
    `await until(() => one(".files"), "the chosen file"); fill(await field("Base"), "bookworm-7m"); fill(await field("Name"), "plays-again"); (await until(() => named("Add"), "Add")).focus();`,
  );
  await press(page, "Enter");
  await act(page, `await until(() => one("dialog a.primary"), "a stored adapter");`);
  await press(page, "Escape");
  await soon(async () => (await focused(page)) === "Add an adapter", "the focus where it came from");
  const { data } = await (await fetch(`${url}v1/adapters`)).json();
  const digest = (name) => data.find((each) => each.name === name).digest;
  assert.equal(digest("plays-again"), digest("plays"));
}

/** A button that is gone once it is used leaves the focus to what took its place. */
async function useUp(page) {
  await act(page, `location.hash = "#/compare"; await until(() => all(".column").length > 1, "columns");`);
  const use = async (script, name) => {
    await act(page, script);
    await press(page, "Enter");
    await soon(async () => (await focused(page)) === name, name);
  };
  await act(page, `while (all(".column").length < 3) { await press("Add a column"); await sleep(20); }`);
  await use(`named("Add a column").focus();`, "Model of column 4");
  await use(`all("[title='Remove the column']").at(-1).focus();`, "Add a column");
  await act(page, `neverEnd(); fill(await field("Max tokens"), "900");`);
  await use(`await press("Run"); (await seen(() => named("Stop all"), "a stream")).focus();`, "Run");
  await act(page, `await until(idle, "all stopped");`);
}

/** Nothing moves by itself for readers who want little motion. */
async function beCalm(page) {
  const moving = async (value) => {
    await page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-reduced-motion", value }] });
    return act(
      page,
      `location.hash = "#/compare"; await until(() => all(".column").length > 1, "columns");
      await press("Run"); await seen(() => one(".tokens.running .paragraph"), "a stream");
      const count = document.getAnimations().length; await press("Stop all"); await until(idle, "its end"); return count;`,
    );
  };
  assert.deepEqual([(await moving("no-preference")) > 0, await moving("reduce")], [true, 0]);
}

export async function checkKeyboard(browser, url) {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-downloads-"));
  const page = await browser.open(`${url}#/adapters`);
  try {
    const count = await walkViews(page);
    await saveAndAdd(page, url, folder);
    await remove(page, "plays-again");
    await useUp(page);
    await beCalm(page);
    console.log(
      `The Tab key reached all ${count} controls of four views; a tar that was saved by a key was added again, byte for byte.`,
    );
  } finally {
    await page.close();
    rmSync(folder, { recursive: true });
  }
}
