/** The command as a process: it starts, answers, shuts down cleanly, and reports in one line why it cannot. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { addressOf, killAll, start } from "../support/process.js";

const model = "models/bookworm-7m";

async function complete(address: string, body: object): Promise<{ status: number; text: string }> {
  const response = await fetch(`${address}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return { status: response.status, text: await response.text() };
}

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "lorikeet-cli-"));
  cpSync("adapters/plays", join(folder, "plays"), { recursive: true });
});
after(() => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});

test("serve: banner, an answer, adapters by --url, and a drain that lets a running stream finish", async () => {
  const server = start(["serve", "--model", model, "--adapters", folder, "--port", "0", "--max-batch", "4"]);
  const address = await addressOf(server);
  assert.match(server.err, /^model +bookworm-7m \(llama, 7\.3 M parameters\)/m);
  assert.match(server.err, /^slots +4 of 1,024 tokens/m);
  assert.match(server.err, /^adapters +1 found in .*: plays$/m);
  assert.match(server.err, /listening on loopback only/);

  const added = start(["adapters", "add", "moods", "adapters/sentiment", "--url", address, "--json"]);
  assert.equal(await added.ended, 0, added.err);
  const listed = start(["adapters", "list", "--url", address]);
  assert.equal(await listed.ended, 0, listed.err);
  assert.match(listed.out, /^moods /m);
  assert.equal((await complete(address, { model: "moods", prompt: "good\nlabel:", max_tokens: 2 })).status, 200);

  const busy = start(["serve", "--model", model, "--port", new URL(address).port]);
  assert.equal(await busy.ended, 6);
  assert.match(busy.err, /^lorikeet: The address 127\.0\.0\.1:\d+ is in use[^\n]+\n$/);

  const stream = complete(address, {
    model: "plays",
    prompt: "ROMEO:",
    max_tokens: 150,
    ignore_eos: true,
    stream: true,
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  server.child.kill("SIGTERM");
  const { status, text } = await stream;
  assert.equal(status, 200);
  assert.ok(text.endsWith("data: [DONE]\n\n"), text.slice(-300));
  assert.equal(await server.ended, 0, server.err);
  const lines = server.out
    .trim()
    .split("\n")
    .map((line): { msg?: string } => JSON.parse(line));
  for (const message of ["listening", "request", "draining", "stopped"]) {
    assert.ok(
      lines.some(({ msg }) => msg === message),
      message,
    );
  }
  assert.ok(!server.out.includes("ROMEO"), "prompts are not logged");

  const offline = start(["adapters", "list", "--adapters", folder]);
  assert.equal(await offline.ended, 0, offline.err);
  assert.match(offline.out, /^moods +store /m);
});

test("adapters on a running server: add, list, refuse and verify", async () => {
  const own = mkdtempSync(join(tmpdir(), "lorikeet-cli-remote-"));
  const store = join(own, "store");
  const moods = join(own, "moods");
  mkdirSync(store);
  cpSync("adapters/sentiment", moods, { recursive: true });
  const config = join(moods, "adapter_config.json");
  writeFileSync(
    config,
    JSON.stringify({ ...JSON.parse(readFileSync(config, "utf8")), base_model_name_or_path: "other" }),
  );
  writeFileSync(join(moods, "README.md"), "A card.");
  writeFileSync(join(moods, "optimizer.pt"), "x");
  const server = start(["serve", "--model", model, "--adapters", store, "--port", "0", "--max-batch", "2"]);
  try {
    const url = ["--url", await addressOf(server)];
    const added = start(["adapters", "add", "org/moods", moods, ...url]);
    assert.equal(await added.ended, 0, added.err);
    assert.match(added.out, /^org\/moods was created on http:/);
    assert.match(added.err, /^warning: The adapter names "other" as its base/);
    const version = readdirSync(join(store, ".store")).find((name) => name.startsWith("sha256-"));
    assert.equal(readFileSync(join(store, ".store", version ?? "", "README.md"), "utf8"), "A card.");
    const again = start(["adapters", "add", "org/moods", moods, ...url]);
    assert.equal(await again.ended, 0, again.err);
    assert.match(again.out, /^org\/moods is already stored on http:/);

    const stranger = start(["adapters", "add", "x", "test/fixtures/oracle/llama/adapters/patterns", ...url]);
    assert.equal(await stranger.ended, 9);
    assert.match(stranger.err, / does not fit the base "bookworm-7m".*: .*; and \d+ more\./);
    assert.ok(
      stranger.err.split("\n").filter((line) => line.startsWith("  - ")).length > 5,
      "the first faults are told",
    );

    for (const base of [[], ["--model", model]]) {
      const verified = start(["adapters", "verify", ...url, ...base]);
      assert.equal(await verified.ended, 0, verified.err);
      assert.equal(verified.out, "org/moods: intact\n");
    }
    const weights = join(store, ".store", version ?? "", "adapter_model.safetensors");
    const bytes = readFileSync(weights);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    writeFileSync(weights, bytes);
    const broken = start(["adapters", "verify", "--json", ...url]);
    assert.equal(await broken.ended, 1);
    const [verdict]: { name: string; error: string }[] = JSON.parse(broken.out);
    assert.equal(verdict?.name, "org/moods");
    assert.match(verdict.error, /has the digest sha256:\S+; sha256:\S+ was expected/);
  } finally {
    server.child.kill("SIGTERM");
    await server.ended;
    rmSync(own, { recursive: true, force: true });
  }
});

test("serve: continues when its log's reader is gone", async () => {
  const server = start(["serve", "--model", model, "--port", "0", "--max-batch", "2"]);
  const address = await addressOf(server);
  server.child.stdout?.destroy();
  server.child.stderr?.destroy();
  const body = { model: "bookworm-7m", prompt: "It", max_tokens: 1 };
  for (let i = 0; i < 3; i++) assert.equal((await complete(address, body)).status, 200);
  server.child.kill("SIGTERM");
  assert.equal(await server.ended, 0);
});

test("serve: a second signal ends a drain at once", async () => {
  const server = start(["serve", "--model", model, "--port", "0", "--log-level", "silent"]);
  const address = await addressOf(server);
  const body = { model: "bookworm-7m", prompt: "It", max_tokens: 1000, ignore_eos: true };
  const running = complete(address, body).then(
    () => "answered",
    () => "cut off",
  );
  await new Promise((resolve) => setTimeout(resolve, 200));
  server.child.kill("SIGINT");
  await new Promise((resolve) => setTimeout(resolve, 100));
  server.child.kill("SIGINT");
  assert.equal(await server.ended, 130);
  assert.equal(await running, "cut off");
  assert.equal(server.out, "");
});

test("generate streams an answer, the same one for the same seed, as text and as JSON", async () => {
  const args = ["generate", "--model", model, "--adapter", "plays", "--max-tokens", "12", "--seed", "3", "ROMEO:"];
  const text = start(args);
  assert.equal(await text.ended, 0, text.err);
  const json = start([...args, "--json"]);
  assert.equal(await json.ended, 0, json.err);
  const answer: { choices: { text: string }[] } = JSON.parse(json.out);
  assert.equal(`${answer.choices[0]?.text}\n`, text.out);
  assert.ok(text.out.length > 10);
});

test("generate without a prompt and with nothing on stdin says that it needs one", async () => {
  const run = start(["generate", "--model", model]);
  assert.equal(await run.ended, 2);
  assert.match(run.err, /^lorikeet: A prompt is required, as an argument or on stdin \(which was empty\)\.\n$/);
});

test("generate lists the adapters when it does not know the given one", async () => {
  const run = start(["generate", "--model", model, "--adapters", folder, "--adapter", "nope", "x"]);
  assert.equal(await run.ended, 2);
  assert.match(run.err, /--adapter nope is neither an adapter in .* \(which holds .*plays.*\) nor a folder\./);
});

test("adapters on a folder: add, verify, remove, and detect a broken one", async () => {
  const own = mkdtempSync(join(tmpdir(), "lorikeet-cli-own-"));
  const where = ["--adapters", own, "--model", model];
  try {
    const taken = start(["adapters", "add", "Bookworm-7m", "adapters/sentiment", ...where]);
    assert.equal(await taken.ended, 2);
    assert.match(taken.err, /"bookworm-7m" is the base model's name/);
    const add = start(["adapters", "add", "org/moods", "adapters/sentiment", ...where]);
    assert.equal(await add.ended, 0, add.err);
    assert.match(add.out, /^org\/moods was created: 56 modules, rank 8, sha256:/);
    const verify = start(["adapters", "verify", ...where]);
    assert.equal(await verify.ended, 0, verify.err);
    assert.equal(verify.out, "org/moods: intact\n");
    cpSync("test/fixtures/oracle/llama/adapters/attn-r8", join(own, "stranger"), { recursive: true });
    const broken = start(["adapters", "verify", "--json", ...where]);
    assert.equal(await broken.ended, 1);
    const verdicts: { name: string; error: string | null }[] = JSON.parse(broken.out);
    assert.ok(verdicts.find(({ name }) => name === "stranger")?.error);
    const remove = start(["adapters", "remove", "org/moods", ...where]);
    assert.equal(await remove.ended, 0, remove.err);
    assert.equal(await start(["adapters", "remove", "org/moods", ...where]).ended, 1);
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
});

test("an invalid host or folder is one line and exit code 2", async () => {
  for (const [option, value, says] of [
    ["--host", "192.0.2.1", /^lorikeet: --host must be an address of this machine; 192\.0\.2\.1 is not\.\n$/],
    ["--lora-path-root", "nowhere", /^lorikeet: --lora-path-root must be a folder; nowhere does not exist\.\n$/],
  ] as const) {
    const run = start(["serve", "--model", model, "--port", "0", "--no-auth", option, value]);
    assert.equal(await run.ended, 2);
    assert.match(run.err, says);
  }
});

test("a port in use is reported before the model is loaded", async () => {
  const holder = createServer().listen(0, "127.0.0.1");
  await once(holder, "listening");
  const address = holder.address();
  const port = typeof address === "object" ? String(address?.port) : "";
  const run = start(["serve", "--model", model, "--port", port]);
  assert.equal(await run.ended, 6);
  assert.match(run.err, /is in use by another program/);
  holder.close();
});
