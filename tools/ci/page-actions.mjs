// What the checks of the page do in the browser: find things by what they say, press, fill and drop them.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

/** Functions that every action below may use, in the browser. */
const helpers = `
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const until = async (find, what) => {
    const end = Date.now() + 120000;
    for (;;) {
      const found = find();
      if (found) return found;
      if (Date.now() > end) throw new Error("never: " + what);
      await sleep(20);
    }
  };
  /** Like until, for what may soon be over: looks at each change of the document, before the browser paints it. */
  const seen = (find, what) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("never seen: " + what)), 120000);
    const look = () => {
      const found = find();
      if (!found) return;
      observer.disconnect();
      clearTimeout(timer);
      resolve(found);
    };
    const observer = new MutationObserver(look);
    observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
    look();
  });
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
    until(() => all("label").find((each) => each.firstChild.textContent.trim() === label)?.querySelector("input, textarea, select"), label);
  const texts = () => all(".tokens").map((each) => each.textContent);
  const answerers = () => all(".answer-column h2").map((each) => each.firstChild.textContent.trim());
  /** From now on answers are as long as they may be, whatever the model would say: there is time to stop them. */
  const neverEnd = () => {
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (text) {
      const { body, ...message } = JSON.parse(text);
      send.call(this, JSON.stringify(body === undefined ? message : { ...message, body: { ...body, ignore_eos: true } }));
    };
  };
  const endings = () => all(".ending").map((each) => each.textContent);
  const idle = () => !all("button").some((each) => each.textContent.trim() === "Stop");
`;

/** Runs a script in the page; it may use the helpers and \`await\`. */
export const act = (page, script) => page.run(`(async () => { ${helpers} ${script} })()`);

/** Waits until an expression holds in the page. */
export async function waitFor(page, expression, what) {
  const end = Date.now() + 240_000;
  while (!(await page.run(expression))) {
    assert.ok(Date.now() < end, `never: ${what}`);
    await sleep(250);
  }
}

/** Drags files and folders of the disk over an element and drops them: what the page gets is the browser's own. */
export async function dropPaths(page, selector, files) {
  await waitFor(page, `document.querySelector(${JSON.stringify(selector)}) !== null`, selector);
  const [x, y] = await act(
    page,
    `const box = one(${JSON.stringify(selector)}).getBoundingClientRect();
    return [box.x + box.width / 2, box.y + Math.min(box.height, innerHeight - box.y) / 2];`,
  );
  const data = { items: [], files, dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"])
    await page.send("Input.dispatchDragEvent", { type, x, y, data });
}

/** Drops files, pairs of a name and the content in base64, as a reader would drop them from a file manager. */
export const dropScript = (files, name) => `{
  const transfer = new DataTransfer();
  for (const [name, content] of ${JSON.stringify(files)}) {
    transfer.items.add(new File([Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0))], name));
  }
  (await until(() => one(".drop-area"), "the adapters")).dispatchEvent(
    new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }),
  );
  fill(await field("Name"), ${JSON.stringify(name)});
}`;
