// Uses the page as a person would, in a real browser against a real server.
import assert from "node:assert/strict";

/** Functions that every action below may use, in the browser. */
const helpers = `
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const until = async (find, what) => {
    const end = Date.now() + 20000;
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

export async function checkPage(browser, url, files) {
  await compare(browser, url);
  await adapters(browser, url, files);
  await load(browser, url);
}
