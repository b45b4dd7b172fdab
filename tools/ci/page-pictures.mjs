// Pictures of the page for the documentation, taken of the page as it is: `LORIKEET_UPDATE_DOCS=1 node tools/ci/browser.mjs`.
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startChromium } from "./chromium.mjs";
import { act, waitFor } from "./page-actions.mjs";
import { readSeven } from "./page-tasks.mjs";
import { freePort, startServer } from "./server.mjs";

const mostBytes = 150_000;

/** Of a server as `npm start` starts it, which also trains. It has its adapters in a copy of their folder, because it adds the trained one. */
export async function updatePictures(chromium) {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-pictures-"));
  const copy = join(folder, "adapters");
  // Without what a server has stored beside the shipped ones.
  cpSync("adapters", copy, { recursive: true, filter: (path) => basename(path) !== ".store" });
  const [, ...started] = JSON.parse(readFileSync("package.json", "utf8")).scripts.start.split(" ");
  const port = await freePort();
  const args = [
    ...started.map((word) => (word === "adapters" ? copy : word)),
    ...["--fine-tuning", join(folder, "training"), "--pause-training-at", "0", "--training-nice", "0"],
    ...["--port", String(port), "--log-level", "warn"],
  ];
  const url = `http://127.0.0.1:${port}/`;
  const stop = await startServer("node", args, `${url}ready`, {});
  try {
    const browser = await startChromium(chromium);
    try {
      await takePictures(browser, url);
    } finally {
      await browser.stop();
    }
  } finally {
    await stop();
    rmSync(folder, { recursive: true });
  }
}

async function takePictures(browser, url) {
  const page = await browser.open(url);
  await page.send("Emulation.setScrollbarsHidden", { hidden: true });
  const take = async (name, theme, height, script) => {
    const size = { width: 1200, height, deviceScaleFactor: 1, mobile: false };
    await page.send("Emulation.setDeviceMetricsOverride", size);
    await act(page, `document.documentElement.dataset.theme = "${theme}"; ${script} await sleep(300);`);
    const { data } = await page.send("Page.captureScreenshot", { format: "png" });
    const path = `docs/${name}.png`;
    writeFileSync(path, data, "base64");
    const { size: bytes } = statSync(path);
    if (bytes > mostBytes) throw new Error(`${path} has ${bytes} bytes, more than ${mostBytes}.`);
    console.log(`${path}: ${Math.round(bytes / 1000)} KB`);
  };
  await take(
    "page-compare",
    "light",
    720,
    `await until(() => all(".column").length === 3, "columns");
    await press("Run");
    await until(() => texts()[1]?.length > 10, "a stream");
    await until(idle, "its end");
    one(".check input").click();`,
  );
  await act(page, `location.hash = "#/tasks";`);
  await readSeven(page);
  await take("page-tasks", "light", 760, "scrollTo(0, 0);");
  await take(
    "page-adapter",
    "dark",
    560,
    `location.hash = "#/adapters";
    await until(() => one(".rows-in-view") && all(".rows-in-view .summary").every((each) => each.textContent !== ""), "summaries");
    location.hash = "#/adapters?name=plays"; await until(() => one("dialog img.training")?.complete, "a card");`,
  );
  await act(page, `location.hash = "#/load"; await until(() => one(".chart"), "charts");`);
  const traffic = startTraffic(url);
  try {
    const readings = `document.querySelector(".chart .line").getAttribute("d").split("L").length`;
    await waitFor(page, `${readings} > 20`, "lines in the charts");
    await take("page-load", "dark", 880, "");
  } finally {
    await traffic.stop();
  }
  await train(url);
  await take(
    "page-training",
    "light",
    760,
    `location.hash = "#/training"; await until(() => one(".samples"), "sample answers");`,
  );
  await page.close();
}

const numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const things = ["apples", "pears", "eggs", "books", "candles", "chairs", "hats", "letters", "horses", "roses"];

/** A job that learns to write orders as JSON. */
async function train(url) {
  const rows = things.flatMap((item) =>
    numbers.map((number, index) => {
      const completion = ` {"item": "${item}", "count": ${index + 1}}`;
      return JSON.stringify({ prompt: `Please bring ${number} ${item}.`, completion });
    }),
  );
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([rows.join("\n")], "orders.jsonl"));
  const file = await call(`${url}v1/files`, { method: "POST", body: form });
  const { id } = await post(`${url}v1/fine_tuning/jobs`, {
    ...{ model: "bookworm-7m", training_file: file.id, suffix: "orders", seed: 1, hyperparameters: { n_epochs: 8 } },
  });
  for (let status = ""; status !== "succeeded"; ) {
    await sleep(500);
    ({ status } = await call(`${url}v1/fine_tuning/jobs/${id}`));
    if (status === "failed" || status === "cancelled") throw new Error(`The job ${status}.`);
  }
}

/** Requests over several adapters, now many at once, now few, until it is stopped. */
function startTraffic(url) {
  const models = ["bookworm-7m", "plays", "dates", "plays", "bookworm-7m", "commands"];
  let isStopped = false;
  const send = async () => {
    for (let wave = 0; !isStopped; wave++) {
      const count = 1 + (wave % models.length);
      const body = { prompt: "It was a dark night", max_tokens: 20 + 10 * count, ignore_eos: true };
      await Promise.all(models.slice(0, count).map((model) => post(`${url}v1/completions`, { ...body, model })));
      await sleep(1_000);
    }
  };
  const ended = send();
  return {
    stop() {
      isStopped = true;
      return ended;
    },
  };
}

const post = (url, body) =>
  call(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

async function call(url, init) {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}
