// Runs the blocks of README.md that are marked for it: ```sh ci:test with `test`; ```sh ci:server and ```js ci:server, in
// order and against one server on a free port, with `examples`.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, startServer } from "./server.mjs";

const limits = { test: 3_600_000, server: 120_000 };

function blocks(kind) {
  const form = /^```(sh|js) ci:(\w+)\n([\s\S]*?)^```$/gm;
  const found = [...readFileSync("README.md", "utf8").matchAll(form)].filter(([, , tag]) => tag === kind);
  if (found.length === 0) throw new Error(`README.md has no block marked ci:${kind}.`);
  return found.map(([, language, , text]) => ({ language, text }));
}

function runBlock({ language, text }, kind, environment = {}) {
  console.log(`--- README.md, ${language}:\n${text.trimEnd()}\n---`);
  const websocket = typeof WebSocket === "undefined" ? ["--experimental-websocket"] : [];
  const [command, args] =
    language === "sh"
      ? ["bash", ["-euo", "pipefail", "-c", text]]
      : ["node", [...websocket, "--input-type=module", "-e", text]];
  const isShown = kind === "test";
  const { status, signal, error, stdout } = spawnSync(command, args, {
    stdio: ["ignore", isShown ? "inherit" : "pipe", "inherit"],
    timeout: limits[kind],
    env: { ...process.env, ...environment },
  });
  if (!isShown) console.log(String(stdout));
  if (status !== 0) throw new Error(`This block of README.md ended with ${error?.code ?? signal ?? status}.`);
  if (!isShown && String(stdout).trim() === "") throw new Error("This block of README.md printed nothing.");
}

/** Makes curl end with a fault where the server answers with one: the examples themselves stay short. */
function strictCurl() {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-curl-"));
  writeFileSync(join(folder, ".curlrc"), "fail-with-body\n");
  return { CURL_HOME: folder };
}

async function examples() {
  const environment = strictCurl();
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const stop = await startServer("npm", ["start", "--", "--port", String(port)], `${base}/ready`, {
    env: { ...process.env, LORIKEET_LOG_LEVEL: "warn" },
  });
  try {
    for (const { language, text } of blocks("server")) {
      runBlock({ language, text: text.replaceAll("localhost:8080", `127.0.0.1:${port}`) }, "server", environment);
    }
  } finally {
    await stop();
  }
}

if (process.argv[2] === "examples") await examples();
else for (const block of blocks("test")) runBlock(block, "test");
