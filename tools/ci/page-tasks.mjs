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

/** Resolves at once when something appears: before the browser paints it, and before effects that wait for that. */
const appearing = `
  const appearing = (find) => new Promise((resolve) => {
    const look = () => {
      const found = find();
      if (!found) return;
      observer.disconnect();
      resolve(found);
    };
    const observer = new MutationObserver(look);
    observer.observe(document, { subtree: true, childList: true, characterData: true });
    look();
  });
`;

/** With reversed motors the base loses the pole at once; an adapter that is chosen meanwhile holds it. */
async function play(page) {
  const lost = await act(
    page,
    `${appearing}
    await press("policy");
    (await appearing(() => named("Play"))).click();
    one(".cart input[type=checkbox]").click();
    const status = await until(() => all(".cart [role=status]").find(({ textContent }) => textContent.includes(" lost ")), "a fall");
    const lost = status.textContent;
    await press("reversed-motors");
    await until(() => Number.parseFloat(one(".cart .seconds").textContent) >= 1.2, "a pole that is held for 60 steps");
    await press("Stop");
    return lost;`,
  );
  assert.match(lost, /^policy lost the pole after 0\.\d s\.$/);
}

/** A drawn 7 is read by the base; turned, only by the adapter for it. */
export async function readSeven(page) {
  const { isBlack, box } = await act(
    page,
    `${appearing}
    await press("digits");
    const canvas = await appearing(() => one(".picture-input canvas"));
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
    `const label = () => one(".label-bars li span")?.textContent;
    const answeredBy = (model) => until(() => one(".task-result .muted").textContent.startsWith(model + ", "), "an answer of " + model);
    await answeredBy("digits");
    const drawn = label();
    await press("Turn by a quarter");
    await until(() => label() !== drawn, "a turned digit that the base misreads");
    await press("quarter-turn");
    await answeredBy("quarter-turn");
    return [drawn, label()];`,
  );
  assert.deepEqual(labels, ["7", "7"]);
}

export async function checkTasks(browser) {
  const port = await freePort();
  const models = ["--model", "models/digits", "--model", "models/policy"];
  const args = ["dist/src/cli/main.js", "serve", ...models, "--port", String(port), "--log-level", "warn"];
  const stop = await startServer("node", args, `http://127.0.0.1:${port}/ready`);
  try {
    const page = await browser.open(`http://127.0.0.1:${port}/#/tasks`);
    await loadAxe(page);
    await play(page);
    const faults = await faultsOf(page, "CartPole");
    await readSeven(page);
    assert.deepEqual([...faults, ...(await faultsOf(page, "a digit"))], []);
    await page.close();
  } finally {
    await stop();
  }
  console.log("A policy lost its pole, and an adapter held it; a drawn 7 was read, and turned by another adapter.");
}
