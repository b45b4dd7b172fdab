// Pictures of the page for the documentation, taken of the page as it is.
import { writeFileSync } from "node:fs";
import { act, waitFor } from "./page-actions.mjs";
import { readSeven } from "./page-tasks.mjs";

/** `url`: of a server as `npm start` starts it, which also trains. */
export async function takePictures(browser, url) {
  const page = await browser.open(url);
  await page.send("Emulation.setDeviceMetricsOverride", {
    ...{ width: 1200, height: 760, deviceScaleFactor: 1, mobile: false },
  });
  const take = async (name, script, theme) => {
    await act(page, `document.documentElement.dataset.theme = "${theme}"; ${script} await sleep(300);`);
    const { data } = await page.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(`docs/${name}.png`, data, "base64");
  };
  await take(
    "page-compare",
    `(await until(() => all(".chip").find((each) => each.textContent.startsWith("plays")), "an example")).click();
    await until(() => texts()[1]?.length > 10, "a stream");
    await until(idle, "its end");
    one(".check input").click();`,
    "light",
  );
  await act(page, `location.hash = "#/tasks";`);
  await readSeven(page);
  await take("page-tasks", "scrollTo(0, 0);", "light");
  await take(
    "page-adapter",
    `location.hash = "#/adapters?name=plays"; await until(() => one("dialog img.training")?.complete, "a card");`,
    "dark",
  );
  await train(url);
  await take(
    "page-training",
    `location.hash = "#/training"; await until(() => one(".samples"), "sample answers");`,
    "light",
  );
  await ask(url);
  await act(page, `location.hash = "#/load";`);
  await waitFor(page, `document.querySelector(".chart dd").textContent !== "0"`, "generated tokens");
  await ask(url);
  await take("page-load", `await sleep(2500);`, "dark");
  await page.close();
}

/** A job that learns to add small numbers. */
async function train(url) {
  const rows = Array.from({ length: 90 }, (_, i) => {
    const [a, b] = [i % 10, Math.floor(i / 10)];
    return JSON.stringify({ prompt: `${a} + ${b} =`, completion: ` ${a + b}.` });
  });
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([rows.join("\n")], "sums.jsonl"));
  const file = await call(`${url}v1/files`, { method: "POST", body: form });
  const { id } = await post(`${url}v1/fine_tuning/jobs`, {
    ...{ model: "bookworm-7m", training_file: file.id, suffix: "sums" },
  });
  for (let status = ""; status !== "succeeded"; ) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    ({ status } = await call(`${url}v1/fine_tuning/jobs/${id}`));
    if (status === "failed") throw new Error("The job failed.");
  }
}

/** Some requests at once, over several adapters. */
function ask(url) {
  const models = ["bookworm-7m", "plays", "dates", "commands"];
  const body = { prompt: "It was a dark night", max_tokens: 60, ignore_eos: true };
  return Promise.all([...models, ...models].map((model) => post(`${url}v1/completions`, { ...body, model })));
}

const post = (url, body) =>
  call(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

async function call(url, init) {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}
