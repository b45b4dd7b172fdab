// Uses the page as a person would, in a real browser against a real server.
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { act, dropPaths, dropScript } from "./page-actions.mjs";
import { checkKeyboard } from "./page-keyboard.mjs";
import { checkLimits } from "./page-limits.mjs";
import { checkTraining } from "./page-training.mjs";

/** Three columns answer differently; one is stopped while the others go on; the address brings the comparison back. */
async function compare(browser, url) {
  const page = await browser.open(url);
  const models = await act(
    page,
    `await until(() => all(".column").length === 3, "three columns");
    return all(".picker").map((each) => each.value);`,
  );
  assert.equal(new Set(models).size, 3, "the page begins with the base and two adapters");
  await pickNames(page);
  const answers = await act(
    page,
    `neverEnd();
    fill(await field("Max tokens"), "900");
    fill(await field("Prompt"), "ROMEO:");
    await press("Run");
    await seen(() => texts().every((each) => each.length > 10), "three streams");
    // The first Escape closes the probabilities; the answers go on.
    const type = (key) => one(".tokens").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    type("ArrowRight");
    await seen(() => one(".probabilities"), "the probabilities of the first token");
    // Alt and an arrow are the browser's: back and forward.
    const combined = { key: "ArrowLeft", altKey: true, bubbles: true, cancelable: true };
    const taken = [".tokens", ".presets"].filter((name) => !one(name).dispatchEvent(new KeyboardEvent("keydown", combined)));
    type("Escape");
    await seen(() => !one(".probabilities"), "their end");
    const before = texts()[0].length;
    named("Stop", ".column:nth-child(3) button").click();
    await seen(() => endings()[2] === "stopped", "a stopped column");
    const kept = texts();
    await seen(() => texts()[0].length > before + 20, "the other columns going on");
    await press("Stop all");
    await until(idle, "all stopped");
    return { kept, taken, now: texts(), states: endings() };`,
  );
  assert.equal(answers.now[2], answers.kept[2], "a stopped column keeps its text");
  assert.deepEqual(answers.taken, [], "the browser's own keys");
  assert.equal(new Set(answers.now).size, 3, "the columns differ");
  assert.deepEqual(answers.states, ["stopped", "stopped", "stopped"]);
  const { href, shown } = await act(
    page,
    `const token = all(".tokens span[data-index]")[3];
    token.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    await until(() => all(".probabilities > div").length >= 5, "the probabilities of a token");
    return { href: location.href, shown: one(".probabilities").textContent };`,
  );
  assert.match(shown, /\d\.\d %/);
  await tapTokens(page);
  await copyAnswer(page);
  await act(
    page,
    `one(".check input").click();
    await until(() => one(".legend"), "what the shades mean");
    location.hash = "#/load";
    await until(() => !one(".check"), "another view");
    location.hash = "#/compare";
    await until(() => one(".check input:checked") && one(".tokens.shaded"), "the shades, kept");`,
  );
  await page.close();
  const copy = await browser.open(href);
  const again = await act(
    copy,
    `await until(() => all(".column").length === 3, "the shared columns");
    return [(await field("Prompt")).value, all(".picker")[2].value, (await field("Max tokens")).value];`,
  );
  assert.deepEqual(again, ["ROMEO:", "plays", "900"]);
  await copy.close();
  console.log("The page compared three columns, stopped one, and came back from its address.");
}

/**
 * A name that nobody has is refused in words, and the column keeps its own; a part of one name is completed; what is typed counts once it is
 * finished.
 */
async function pickNames(page) {
  const [refusal, kept, completed] = await act(
    page,
    `const picker = all(".picker")[2];
    const before = picker.value;
    fill(picker, "nobody");
    const refusal = (await until(() => one(".column .fault"), "a refusal")).textContent;
    const kept = picker.value === before;
    fill(picker, "play");
    await until(() => !one(".column .fault"), "the refusal's end");
    return [refusal, kept, picker.value];`,
  );
  assert.deepEqual([refusal, kept, completed], ["There is no “nobody” here.", true, "plays"]);
  const asked = () => page.run(`document.querySelector(".column:nth-child(3)").ariaLabel`);
  await act(page, `all(".picker")[2].focus();`);
  await page.send("Input.insertText", { text: "dates" });
  assert.equal(await asked(), "Column 3: plays", "a name may go on");
  await act(
    page,
    `all(".picker")[2].blur(); await until(() => one(".column:nth-child(3)").ariaLabel === "Column 3: dates", "a typed name");`,
  );
  await act(page, `fill(all(".picker")[2], "plays");`);
}

/** An answer is copied whole, and its program in each language: what was said of one language is not said of the next. */
async function copyAnswer(page) {
  const { answer, copied, said } = await act(
    page,
    `const copied = [];
    navigator.clipboard.writeText = async (text) => void copied.push(text);
    const column = all(".column")[1];
    const answer = column.querySelector(".tokens").textContent;
    column.querySelector("[aria-label='Copy the answer']").click();
    await until(() => column.querySelector("footer").textContent.includes("Copied"), "a copied answer");
    column.querySelector("[title='Copy as a program']").click();
    await press("Copy", ".copy-as button");
    await until(() => named("Copied", ".copy-as button"), "a copied program");
    await press("openai for Python");
    await new Promise(requestAnimationFrame);
    const said = one(".copy-as .quiet").textContent;
    await press("Copy", ".copy-as button");
    await until(() => copied.length === 3, "another language");
    return { answer, copied, said };`,
  );
  assert.equal(copied[0], answer);
  assert.match(copied[1], /^curl /);
  assert.match(copied[2], /^from openai /);
  assert.equal(said, "Copy");
}

/** On a phone, a tap on a token shows its probabilities whole, wherever it is, and a tap beside the answer closes them. */
async function tapTokens(page) {
  await page.send("Emulation.setDeviceMetricsOverride", {
    width: 390,
    height: 844,
    deviceScaleFactor: 1,
    mobile: true,
  });
  await page.send("Emulation.setTouchEmulationEnabled", { enabled: true });
  const tap = async (find) => {
    const point = await act(
      page,
      `const { left, top } = (${find}).getClientRects()[0]; return { x: Math.ceil(left) + 1, y: Math.ceil(top) + 3 };`,
    );
    await page.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [point] });
    await page.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  };
  const token = `all(".tokens")[1].querySelector("span[data-index='1']")`;
  for (const block of ["start", "end"]) {
    const scrollable = await act(
      page,
      `${token}.scrollIntoView({ block: "${block}" }); scrollBy(0, ${block === "start" ? -200 : 0}); return all(".tokens")[1].scrollHeight;`,
    );
    await tap(token);
    const shown = await act(
      page,
      `const shown = await until(() => one(".tokens .chosen") === ${token} && one(".probabilities"), "the probabilities of a tapped token");
      const { left, top, right, bottom } = shown.getBoundingClientRect();
      return { isWhole: left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight, scrollable: all(".tokens")[1].scrollHeight };`,
    );
    assert.deepEqual(shown, { isWhole: true, scrollable });
    await tap(`all(".column footer")[1]`);
    await act(page, `await until(() => !one(".probabilities"), "their end");`);
  }
}

/** A view that is still reading from the server when its reader goes to another one does not call the reader back. */
async function leaveEarly(browser, url) {
  const page = await browser.open(`${url}#/adapters`);
  const [hash, isShown] = await act(
    page,
    `const answers = new Map();
    const ask = window.fetch;
    let release = null;
    let isHeld = false;
    // Known answers come at once, but for the one that is held: what Compare does next comes before any event.
    window.fetch = async (address, options) => {
      if (isHeld && address.endsWith("/v1/models")) await new Promise((resolve) => (release = resolve));
      if (!answers.has(address)) {
        const answer = await ask(address, options);
        const text = await answer.text();
        const { ok, status, headers } = answer;
        answers.set(address, { ok, status, headers, body: null, text: async () => text, json: async () => JSON.parse(text) });
      }
      return answers.get(address);
    };
    location.hash = "#/compare";
    await until(() => location.hash.includes("?"), "the comparison's address");
    location.hash = "#/adapters";
    await until(() => one(".drop-area"), "the adapters");
    isHeld = true;
    location.hash = "#/compare";
    await until(() => release !== null && one(".compare"), "a comparison that waits");
    location.hash = "#/adapters";
    release();
    await until(() => !one(".compare"), "the adapters instead of the comparison");
    return [location.hash, one(".drop-area") !== null];`,
  );
  assert.deepEqual([hash, isShown], ["#/adapters", true]);
  await page.close();
  console.log("A view that was left before it had its answers did not come back.");
}

/** An adapter is dropped, used, replaced while it answers, refused, and deleted. `files` are those of an adapter. */
async function adapters(browser, url, files) {
  const page = await browser.open(`${url}#/adapters`);
  await dropPaths(page, ".drop-area", [resolve("adapters/plays")]);
  const added = await act(
    page,
    `const name = await field("Name");
    if (name.value !== "plays") throw new Error("The folder's name is suggested, not " + name.value);
    fill(name, "bard");
    fill(await field("Base"), "bookworm-7m");
    await press("Add");
    const next = await until(() => one("dialog a.primary"), "a stored adapter");
    const said = one("dialog [role=status]").textContent;
    await until(() => document.activeElement === next, "the focus on the next step");
    next.click();
    await until(() => all(".picker")[1]?.value === "bard", "a column of the new adapter");
    return [said, (await field("Prompt")).value];`,
  );
  assert.match(added[0], /^bard is added/);
  assert.equal(added[1], "ROMEO:", "the adapter's own example");
  const replaced = await act(
    page,
    `neverEnd();
    fill(await field("Prompt"), "JULIET:");
    fill(await field("Max tokens"), "900");
    await press("Run");
    await seen(() => texts()[1]?.length > 10, "its stream");
    location.hash = "#/adapters";
    ${dropScript(files, "bard")}
    const losses = (await until(() => one("dialog .notice"), "what the replaced adapter loses")).textContent;
    fill(await field("What does it do?"), "Writes as a bard would.");
    await press("Replace bard");
    await until(() => one("dialog a.primary"), "a replaced adapter");
    const said = one("dialog [role=status]").textContent;
    await press("Close");
    location.hash = "#/compare";
    await until(() => texts()[1]?.length > 0, "the column that goes on");
    const before = texts()[1].length;
    // On a machine that writes faster than it uploads, the answer may be whole already.
    await seen(() => texts()[1].length > before || idle(), "its stream going on");
    named("Stop all")?.click();
    await until(idle, "the end of both answers");
    return { said, losses, ending: endings()[1] };`,
  );
  assert.match(replaced.losses, /loses its README with its 2 examples .* record of its training/);
  assert.match(replaced.said, /^bard is replaced/);
  assert.match(replaced.ending, /^stopped( at max tokens)?$/, "replacing ends no answer");
  const refused = await act(
    page,
    `location.hash = "#/adapters";
    ${dropScript(files.slice(0, 1), "half")}
    if (!named("Add").disabled) throw new Error("half an adapter can be sent");
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
    return all(".rows-in-view a").map((each) => each.textContent);`,
  );
  assert.deepEqual(left, ["dates", "plays"]);
  await page.close();
  console.log("An adapter was dropped on the page, used, replaced while it answered, refused, pinned and deleted.");
}

/** A key is asked for, a wrong one refused in plain words; the tab keeps the right one, over a restart of the server too. */
export async function checkKeys(browser, { url, key, restart }) {
  const page = await browser.open(`${url}#/compare?prompt=From+the+address`);
  const refusal = await act(
    page,
    `fill(await field("API key"), "wrong");
    await press("Continue");
    return (await until(() => one(".fault"), "a refusal")).textContent;`,
  );
  assert.match(refusal, /^This is not one of the server's keys/);
  const kept = await act(
    page,
    `fill(await field("API key"), ${JSON.stringify(key)});
    await press("Continue");
    await until(() => all(".column").length > 0, "the columns");
    fill(await field("Prompt"), "Typed since");
    neverEnd();
    fill(await field("Max tokens"), "900");
    await press("Run");
    await seen(() => texts()[0].length > 10, "a stream");
    await press("Copy column 1 as a program");
    const said = (await until(() => one(".copy-as p"), "where the program takes the key from")).textContent;
    return [Object.values(sessionStorage), JSON.stringify(localStorage), said];`,
  );
  assert.deepEqual(kept.slice(0, 2), [[key], "{}"]);
  assert.match(kept[2], /LORIKEET_API_KEY/);
  await restart();
  const [said, typed] = await act(
    page,
    `const notice = await until(() => named("Dismiss")?.parentElement, "the news of the restart");
    await until(() => one(".state.ready"), "the server again");
    await press("Run");
    await seen(() => texts()[0].length > 10, "a stream after the restart");
    await press("Stop all");
    return [notice.textContent, (await field("Prompt")).value];`,
  );
  assert.match(said, /^The server was restarted\./);
  assert.equal(typed, "Typed since");
  const other = await browser.open(url);
  assert.ok(await act(other, `return (await field("API key")).value === "";`), "another tab asks for itself");
  await other.close();
  await page.close();
  console.log(
    "The page asked for a key, refused a wrong one in plain words, and found the server again after its restart.",
  );
}

export async function checkPage(browser, url, files) {
  await compare(browser, url);
  await leaveEarly(browser, url);
  await adapters(browser, url, files);
  await checkKeyboard(browser, url);
  await checkTraining(browser, url, "tiny");
  await checkLimits(browser);
}
