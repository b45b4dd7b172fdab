// Trains an adapter from the page.
import assert from "node:assert/strict";
import { act, waitFor } from "./page-actions.mjs";

/** Rows are dropped, a job runs on them, is paused and resumed, and its adapter answers. `base` trains in seconds. */
export async function checkTraining(browser, url, base) {
  const page = await browser.open(`${url}#/training`);
  const rows = Array.from({ length: 12 }, (_, i) => ({ prompt: `Say ${i}:`, completion: ` the number is ${i}.` }));
  await act(
    page,
    `const transfer = new DataTransfer();
    transfer.items.add(new File([${JSON.stringify(rows.map((row) => JSON.stringify(row)).join("\n"))}], "numbers.jsonl"));
    const view = await until(() => one("section[aria-label=Training]"), "the view");
    const dropped = (text) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], "wrong.jsonl"));
      return new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer });
    };
    view.dispatchEvent(dropped('{"text":"a"}\\nnot json'));
    await until(() => one("dialog .fault")?.textContent.includes("Line 2 is not JSON"), "a wrong row");
    if (!named("Start").disabled) throw new Error("a job on wrong rows can be started");
    await press("Close");
    await until(() => !one("dialog"), "the view alone");
    view.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
    await until(() => one(".rows")?.textContent.includes("Say 0:"), "a look at the rows");
    fill(await field("Base"), ${JSON.stringify(base)});
    await press("Show 2 more rows");
    await until(() => one(".rows").textContent.includes("Say 11:"), "the other rows");
    fill(await field("What it is for (its card says so)"), "Says numbers.");
    fill(await field("Epochs"), "1");
    await press("Start");
    await press("Pause");`,
  );
  // On a busy machine longer than a call of the protocol may take: processes start and end.
  const state = `document.querySelector(".job .tag")?.textContent`;
  await waitFor(page, `${state} === "paused"`, "a paused job");
  await act(
    page,
    `await press("Cancel");
    await until(() => one("[role=alertdialog]")?.contains(document.activeElement), "a question");
    await press("Keep it");
    await press("Resume");`,
  );
  await waitFor(page, `document.querySelector(".job .tag.succeeded") !== null`, "a published job");
  const product = await act(
    page,
    `await until(() => all(".curves .plot").length === 2, "its losses and learning rates");
    const ticks = all(".curves .y-ticks").map((each) => each.children.length);
    if (!ticks.every((count) => count > 2)) throw new Error("axes with " + ticks + " ticks");
    await until(() => one(".samples")?.textContent.includes("Say "), "what it answers");
    const count = all(".job").length;
    await press("Start again");
    await until(() => all(".job").length > count, "a second job");
    await press("Its card");
    await until(() => one("dialog .facts") && one("dialog").textContent.includes("Says numbers."), "what it is for");
    await press("Close");
    await until(() => !one("dialog"), "the table alone");
    location.hash = "#/training";
    (await until(() => one(".job a.primary"), "the published job")).click();
    await until(() => all(".picker").length === 2, "a comparison");
    neverEnd();
    fill(await field("Max tokens"), "5");
    await press("Run");
    await until(() => endings()[1] === "stopped at max tokens" && texts()[1] !== "", "an answer of the product");
    return all(".picker")[1].value;`,
  );
  assert.match(product, /^ft-numbers-/);
  await page.close();
  console.log("Rows were dropped, a job on them paused, resumed and published, and its adapter answered.");
}
