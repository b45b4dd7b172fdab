// Runs the marked code blocks of the documents. Of README.md: ```sh ci:test with `test`; ```sh ci:server and
// ```js ci:server, in order and against one server on a free port, and ```sh ci:hub against a hub on loopback, with `examples`.
// Of docs/tutorial.md with `tutorial`: ```sh ci:tutorial, and ```sh ci:served against a server of the trained adapter.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, startServer } from "./server.mjs";

const limits = { test: 3_600_000, server: 120_000, hub: 180_000, tutorial: 300_000, served: 60_000 };

/** The marked blocks of a document in order. */
function blocks(file, ...kinds) {
  const form = /^```(sh|js) ci:(\w+)\n([\s\S]*?)^```$/gm;
  const found = [...readFileSync(file, "utf8").matchAll(form)].filter(([, , kind]) => kinds.includes(kind));
  if (found.length === 0) throw new Error(`${file} has no block marked ci:${kinds.join(" or ci:")}.`);
  return found.map(([, language, kind, text]) => ({ file, language, kind, text }));
}

function runBlock({ file, language, kind, text }, environment = {}) {
  console.log(`--- ${file}, ${language}:\n${text.trimEnd()}\n---`);
  const websocket = typeof WebSocket === "undefined" ? ["--experimental-websocket"] : [];
  const [command, args] =
    language === "sh"
      ? ["bash", ["-euo", "pipefail", "-c", text]]
      : ["node", [...websocket, "--input-type=module", "-e", text]];
  const isShown = kind === "test" || kind === "tutorial";
  const { status, signal, error, stdout } = spawnSync(command, args, {
    stdio: ["ignore", isShown ? "inherit" : "pipe", "inherit"],
    timeout: limits[kind],
    env: { ...process.env, ...environment },
  });
  if (!isShown) console.log(String(stdout));
  if (status !== 0) throw new Error(`This block of ${file} ended with ${error?.code ?? signal ?? status}.`);
  if (!isShown && String(stdout).trim() === "") throw new Error(`This block of ${file} printed nothing.`);
}

/** Runs blocks with the address in the documents replaced by the server's. */
async function runServed(found, command, args) {
  const environment = strictCurl();
  const port = await freePort();
  const stop = await startServer(command, [...args, "--port", String(port)], `http://127.0.0.1:${port}/ready`, {
    env: { ...process.env, LORIKEET_LOG_LEVEL: "warn" },
  });
  try {
    for (const block of found) {
      runBlock({ ...block, text: block.text.replaceAll("localhost:8080", `127.0.0.1:${port}`) }, environment);
    }
  } finally {
    await stop();
  }
}

/** Makes curl fail on an error response, so that the examples stay short. */
function strictCurl() {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-curl-"));
  writeFileSync(join(folder, ".curlrc"), "fail-with-body\n");
  return { CURL_HOME: folder };
}

/** Runs blocks with a loopback hub instead of the public one. It serves the embedded model under every name in them. */
async function runWithHub(found) {
  const names = found.flatMap(({ text }) =>
    [...text.matchAll(/(?:--model|pull) ([\w.-]+\/[\w.-]+)/g)].map(([, name]) => name),
  );
  const hub = spawn("node", ["tools/ci/hub.mjs", ...new Set(names)], { stdio: ["pipe", "pipe", "inherit"] });
  const home = mkdtempSync(join(tmpdir(), "lorikeet-hub-"));
  try {
    const [address] = await once(hub.stdout, "data");
    const environment = {
      HF_ENDPOINT: String(address).trim(),
      HF_HOME: home,
      HF_HUB_CACHE: "",
      HF_HUB_OFFLINE: "",
      HF_TOKEN: "",
    };
    for (const block of found) runBlock(block, environment);
  } finally {
    hub.stdin.end();
    rmSync(home, { recursive: true, force: true });
  }
}

async function tutorial() {
  rmSync("tutorial", { recursive: true, force: true });
  const serve = ["lorikeet", "serve", "--model", "models/bookworm-7m", "--adapters", "tutorial/adapters"];
  for (const block of blocks("docs/tutorial.md", "tutorial", "served")) {
    if (block.kind === "served") await runServed([block], "npx", serve);
    else runBlock(block);
  }
}

const what = process.argv[2];
if (what === "examples") {
  await runServed(blocks("README.md", "server"), "npm", ["start", "--"]);
  await runWithHub(blocks("README.md", "hub"));
} else if (what === "tutorial") await tutorial();
else for (const block of blocks("README.md", "test")) runBlock(block);
