// What the page does with answers that come late: after their view or dialog has been left, after another answer, or not at all.
import assert from "node:assert/strict";
import { act } from "./page-actions.mjs";

/** Requests that `holds` picks wait until `release`, or until their signal ends them. What `answers` knows, it answers in the server's place. */
const holding = `
  const send = window.fetch;
  let holds = () => false;
  let answers = () => null;
  const held = [];
  const done = [];
  window.fetch = async (address, options = {}) => {
    const call = (options.method ?? "GET") + " " + new URL(address).pathname;
    if (holds(call)) {
      await new Promise((resolve, reject) => {
        held.push({ call, resolve });
        options.signal?.addEventListener("abort", () => reject(options.signal.reason));
      });
    }
    const answer = answers(call);
    const response = answer === null ? await send(address, options) : new Response(JSON.stringify(answer));
    done.push(call);
    return response;
  };
  const isHeld = (call) => until(() => held.some((each) => each.call === call), call + " held");
  const release = () => { holds = () => false; for (const { resolve } of held.splice(0)) resolve(); };
  const isDone = (call) => until(() => done.includes(call), call + " answered");
  /** What an answer leads to has happened: views render in microtasks, and addresses change with the next event. */
  const settled = async () => { await sleep(0); await new Promise(requestAnimationFrame); await sleep(0); };
`;

/** Two cards whose answers come in the other order; then a deletion that ends when its reader looks at the load. */
async function leaveCards(page) {
  const shown = await act(
    page,
    `${holding}
    const first = "GET /v1/adapters/adapter-09998/card";
    holds = (call) => call === first;
    location.hash = "#/adapters?name=adapter-09998";
    await isHeld(first);
    location.hash = "#/adapters?name=adapter-09997";
    await until(() => one("dialog .chip"), "the second card");
    release();
    await isDone(first);
    await settled();
    const shown = decodeURIComponent(one("dialog .chip").href).match(/adapter-\\d+/g);
    answers = (call) => (call.startsWith("DELETE") ? {} : null);
    holds = (call) => call.startsWith("DELETE");
    await press("Delete");
    await press("Delete", "[role=alertdialog] button");
    await isHeld("DELETE /v1/adapters/adapter-09997");
    location.hash = "#/load";
    await until(() => one(".charts"), "the load");
    done.length = 0;
    release();
    await isDone("GET /v1/adapters");
    await settled();
    window.fetch = send;
    return [new Set(shown).size, shown[0], location.hash];`,
  );
  assert.deepEqual(shown, [1, "adapter-09997", "#/load"]);
}

/** A job starts after its dialog was closed: the dialog that is open now stays, with what it holds. A second press starts no second job. */
async function leaveStart(page) {
  const kept = await act(
    page,
    `${holding}
    location.hash = "#/training";
    const job = { id: "ftjob-late", status: "queued", model: "base", created_at: 1.7e9, finished_at: null };
    answers = (call) => (call === "POST /v1/files" ? { id: "file-2" } : call === "POST /v1/fine_tuning/jobs" ? job : null);
    holds = (call) => call === "POST /v1/fine_tuning/jobs";
    const drop = async (name) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(['{"text":"a"}'], name));
      const view = await until(() => one("section[aria-label=Training]"), "the view");
      view.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
      await until(() => one("dialog .rows")?.textContent.includes("a") && !named("Start").disabled, "the rows of " + name);
    };
    await drop("first.jsonl");
    await press("Start");
    await isHeld("POST /v1/fine_tuning/jobs");
    await press("Close");
    await until(() => !one("dialog"), "the end of the first dialog");
    await drop("second.jsonl");
    release();
    await isDone("POST /v1/fine_tuning/jobs");
    await settled();
    const kept = (await field("Name of the adapter")).value;
    await press("Close");
    await until(() => !one("dialog"), "the view alone");
    done.length = 0;
    holds = (call) => call === "POST /v1/fine_tuning/jobs";
    for (let presses = 0; presses < 2; presses++) await press("Start again");
    await isHeld("POST /v1/fine_tuning/jobs");
    const asked = held.length;
    release();
    await isDone("POST /v1/fine_tuning/jobs");
    window.fetch = send;
    return [kept, asked];`,
  );
  assert.deepEqual(kept, ["second", 1]);
}

/** A stroke that begins before a chosen picture is decoded stays on the sheet. */
async function drawEarly(page) {
  const [red, green] = await act(
    page,
    `location.hash = "#/tasks?base=digits&task=image-classification&model=digits";
    const canvas = await until(() => one(".picture-input canvas"), "a sheet");
    canvas.setPointerCapture = () => {};
    const decode = window.createImageBitmap;
    const picture = new OffscreenCanvas(8, 8);
    const context = picture.getContext("2d");
    context.fillStyle = "#f00";
    context.fillRect(0, 0, 8, 8);
    let release = null;
    window.createImageBitmap = async () => {
      await new Promise((resolve) => (release = resolve));
      return decode(picture);
    };
    const transfer = new DataTransfer();
    transfer.items.add(new File(["x"], "red.png", { type: "image/png" }));
    const input = one(".picture-input input[type=file]");
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    await until(() => release, "a picture that is decoded");
    const { left, top, width } = canvas.getBoundingClientRect();
    const stroke = (type, part) => canvas.dispatchEvent(
      new PointerEvent(type, { bubbles: true, buttons: 1, clientX: left + part * width, clientY: top + part * width }),
    );
    stroke("pointerdown", 0.3); stroke("pointermove", 0.7); stroke("pointerup", 0.7);
    release();
    await sleep(50);
    window.createImageBitmap = decode;
    const [, green] = canvas.getContext("2d").getImageData(280, 280, 1, 1).data;
    const [red] = canvas.getContext("2d").getImageData(9, 9, 1, 1).data;
    return [red, green];`,
  );
  assert.deepEqual([red, green], [0, 255], "the stroke on its own sheet");
}

/** A server that takes requests and says nothing is lost; when it answers again, it is found again. */
async function hang(page) {
  const states = await act(
    page,
    `${holding}
    const timeout = AbortSignal.timeout;
    AbortSignal.timeout = (ms) => timeout.call(AbortSignal, ms / 50);
    const state = () => one(".state").textContent.trim();
    const isProbe = (call) => call === "GET /" || call === "GET /ready";
    holds = isProbe;
    answers = (call) => { if (!isProbe(call)) throw new TypeError("nothing came"); return null; };
    location.hash = "#/adapters";
    await until(() => state() === "Reconnecting", "a lost server");
    const typed = one("input[type=search]") !== null;
    AbortSignal.timeout = timeout;
    answers = () => null;
    release();
    await until(() => state() === "Connected", "the server again");
    window.fetch = send;
    return typed;`,
  );
  assert.ok(states, "the view stays while the server hangs");
}

export async function checkRaces(browser, { url }) {
  const page = await browser.open(`${url}#/adapters`);
  await act(page, `await until(() => one(".adapter-table"), "the table");`);
  await leaveCards(page);
  await leaveStart(page);
  await drawEarly(page);
  await hang(page);
  await page.close();
  console.log("Answers that came late, out of order or not at all changed nothing that their reader had gone on to.");
}
