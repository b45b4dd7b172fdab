// A real browser against a real server: a local page and a page of an allowed origin stream over WebSocket and SSE and upload an
// adapter; a page of another origin is refused; a closed tab frees what it held; and the server's own page works.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { writeTinyModel } from "../../dist/test/support/tiny-model.js";
import { findChromium, startChromium } from "./chromium.mjs";
import { checkKeys, checkPage } from "./page.mjs";
import { updatePictures } from "./page-pictures.mjs";
import { checkTasks } from "./page-tasks.mjs";
import { freePort, startServer } from "./server.mjs";

const path = findChromium();
if (path === null) {
  console.log("No Chromium is installed, and this user cannot install one: the browser check is skipped.");
  process.exit(0);
}

if (process.env.LORIKEET_UPDATE_DOCS === "1") {
  await updatePictures(path);
  process.exit(0);
}

const port = await freePort();
const pages = createServer((req, res) => {
  if (req.url.startsWith("/plays/")) res.end(readFileSync(`adapters${new URL(req.url, "http://x").pathname}`));
  else res.setHeader("content-type", "text/html").end("<!doctype html><title>A page</title>");
}).listen(0, "127.0.0.1");
await new Promise((resolve) => pages.once("listening", resolve));
const pagePort = pages.address().port;
const local = `http://127.0.0.1:${port}`;
const friend = `http://friend.example:${pagePort}`;

/** The actions of a page. Each function runs in the browser, with the server's address as its first argument. */
const scripts = {
  overSocket: (server, body) =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`${server.replace("http", "ws")}/v1/ws`, ["lorikeet", "lorikeet.bearer.c2VjcmV0"]);
      const received = { protocol: null, chunks: 0, text: "", tokens: null };
      socket.onopen = () => {
        received.protocol = socket.protocol;
        socket.send(JSON.stringify({ id: "r1", type: "completions", body }));
      };
      socket.onerror = () => reject(new Error("the WebSocket was refused"));
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "error") return reject(new Error(message.error.message));
        if (message.type === "chunk") {
          received.chunks++;
          received.text += message.data.choices[0]?.text ?? "";
          return;
        }
        received.tokens = message.data.usage.completion_tokens;
        socket.close();
        resolve(received);
      };
    }),
  overSse: async (server, body) => {
    const response = await fetch(`${server}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer c2VjcmV0" },
      body: JSON.stringify({ ...body, stream: true }),
    });
    const received = { status: response.status, adapter: response.headers.get("x-adapter"), text: "", isDone: false };
    let rest = "";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const events = (rest + part.value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (event === "data: [DONE]") received.isDone = true;
        else if (event.startsWith("data: ")) received.text += JSON.parse(event.slice(6)).choices[0]?.text ?? "";
      }
    }
    return received;
  },
  upload: async (server, name) => {
    const form = new FormData();
    const file = async (name) => (await fetch(`/plays/${name}`)).blob();
    form.set("config", await file("adapter_config.json"), "adapter_config.json");
    form.set("weights", await file("adapter_model.safetensors"), "adapter_model.safetensors");
    return (await fetch(`${server}/v1/adapters/${name}`, { method: "PUT", body: form })).status;
  },
  remove: async (server, name) => (await fetch(`${server}/v1/adapters/${name}`, { method: "DELETE" })).status,
  read: async (server, path) => (await fetch(server + path)).status,
  /** Two streams that never end. */
  hold: async (server, body) => {
    const headers = { "content-type": "application/json" };
    const options = { method: "POST", headers, body: JSON.stringify({ ...body, stream: true }) };
    window.kept = await fetch(`${server}/v1/completions`, options);
    window.socket = new WebSocket(`${server.replace("http", "ws")}/v1/ws`, ["lorikeet"]);
    await new Promise((resolve) => {
      window.socket.onopen = resolve;
    });
    window.socket.send(JSON.stringify({ id: "r", type: "completions", body }));
    await new Promise((resolve) => {
      window.socket.onmessage = resolve;
    });
  },
};

const run = (page, name, ...args) =>
  page.run(`(${scripts[name]})(${[local, ...args].map((arg) => JSON.stringify(arg))})`);
const body = { model: "plays", prompt: "JULIET:", max_tokens: 30, temperature: 0 };

/** Summed over bases. */
async function metric(name) {
  const text = await (await fetch(`${local}/metrics`)).text();
  const samples = text.split("\n").filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

async function useEverything(browser, origin) {
  const page = await browser.open(`${origin}/`);
  const socket = await run(page, "overSocket", body);
  assert.deepEqual([socket.protocol, socket.tokens], ["lorikeet", 30]);
  assert.ok(socket.chunks > 5 && socket.text.length > 20, socket.text);
  const sse = await run(page, "overSse", body);
  assert.deepEqual(sse, { status: 200, adapter: "plays", text: socket.text, isDone: true });
  assert.equal(await run(page, "upload", "from-a-page"), 201);
  const uploaded = await run(page, "overSse", { ...body, model: "from-a-page" });
  assert.deepEqual(uploaded, { ...sse, adapter: "from-a-page" });
  assert.equal(await run(page, "remove", "from-a-page"), 200);
  console.log(`A page of ${origin} streamed over WebSocket and SSE, uploaded an adapter and used it.`);
  await page.close();
}

async function beRefused(browser, origin) {
  const page = await browser.open(`${origin}/`);
  for (const [name, ...args] of [
    ["overSocket", body],
    ["overSse", body],
    ["upload", "stolen"],
    ["remove", "plays"],
    ["read", "/v1/models"],
  ]) {
    await assert.rejects(run(page, name, ...args), `a page of another origin may not ${name}`);
  }
  await page.close();
  // The server itself, under the other origin's host name (DNS rebinding).
  const rebound = await browser.open(`http://rebound.example:${port}/v1/models`);
  assert.match(await rebound.run("document.body.innerText"), /"code":"host_not_allowed"/);
  assert.equal(await rebound.run("fetch('/v1/adapters').then(({ status }) => status)"), 403);
  await rebound.close();
  console.log(`A page of ${origin} was refused everything, also under the server's own address.`);
}

async function leave(browser) {
  const page = await browser.open(`http://localhost:${pagePort}/`);
  await run(page, "hold", { ...body, max_tokens: 900, ignore_eos: true });
  assert.equal(await metric("vllm:num_requests_running"), 2);
  await page.close();
  const until = Date.now() + 60_000;
  while ((await metric("vllm:num_requests_running")) + (await metric("lorikeet_ws_connections")) > 0) {
    assert.ok(Date.now() < until, "a closed tab frees what it held");
    await sleep(20);
  }
  console.log("A tab closed during two streams freed both.");
}

const folder = mkdtempSync(join(tmpdir(), "lorikeet-browser-"));
for (const name of ["plays", "dates"]) cpSync(join("adapters", name), join(folder, name), { recursive: true });
/** A base that trains in seconds. */
const tiny = join(`${folder}-bases`, "tiny");
await writeTinyModel(tiny, "F32");
const options = [
  ...["--model", "models/bookworm-7m", "--model", tiny, "--adapters", folder, "--port", String(port)],
  ...["--fine-tuning", `${folder}-training`, "--training-nice", "0", "--pause-training-at", "0"],
  ...["--allowed-origins", friend, "--log-level", "warn"],
];
const args = ["dist/src/cli/main.js", "serve", ...options];
const start = (env = {}) => startServer("node", args, `${local}/ready`, { env: { ...process.env, ...env } });
let stop = await start();
try {
  const browser = await startChromium(path);
  try {
    await useEverything(browser, `http://localhost:${pagePort}`);
    await useEverything(browser, friend);
    await beRefused(browser, `http://stranger.example:${pagePort}`);
    await leave(browser);
    const files = ["adapter_config.json", "adapter_model.safetensors"];
    await checkPage(
      browser,
      `${local}/`,
      files.map((name) => [name, readFileSync(`adapters/plays/${name}`, "base64")]),
    );
    await checkTasks(browser);
    assert.equal(await stop(), 0, "the server exits cleanly");
    const key = { LORIKEET_API_KEYS: "a-key-of-this-check", LORIKEET_DRAIN_TIMEOUT: "100ms" };
    stop = await start(key);
    const restart = async () => {
      await stop();
      stop = await start(key);
    };
    await checkKeys(browser, { url: `${local}/`, key: key.LORIKEET_API_KEYS, restart });
  } finally {
    await browser.stop();
  }
} finally {
  pages.close();
  pages.closeAllConnections();
  await stop();
  rmSync(folder, { recursive: true });
  for (const beside of ["training", "bases"]) rmSync(`${folder}-${beside}`, { recursive: true, force: true });
}
