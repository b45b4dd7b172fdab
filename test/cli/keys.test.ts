/** API keys on the command line: where they are read from, when a server refuses to start without, and how commands send them. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createLogger } from "../../src/cli/log/logging.js";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { readClientKey, readServerKeys } from "../../src/cli/serve/api-keys.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { addressOf, killAll, start } from "../support/process.js";

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "lorikeet-keys-"));
});
after(() => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});

function file(content: string): string {
  const path = join(folder, "keys");
  writeFileSync(path, content);
  return path;
}

const keysOf = (flags: Readonly<Record<string, string>>, environment: Record<string, string> = {}) =>
  readServerKeys(resolveSettings(serveOptions, { flags, environment, file: {} }), environment);

test("a server's keys are the lines of a file and the words of a variable", () => {
  const apiKeyFile = file("\uFEFF# of the staging cluster\r\nkey-one\r\n\r\n  key-two  \nkey-one\n");
  assert.deepEqual(keysOf({ apiKeyFile }), ["key-one", "key-two"]);
  assert.deepEqual(keysOf({}, { LORIKEET_API_KEYS: "a1, b2  c3,,\nd4" }), ["a1", "b2", "c3", "d4"]);
  assert.deepEqual(keysOf({ apiKeyFile }, { LORIKEET_API_KEYS: "a1" }), ["key-one", "key-two", "a1"]);
  assert.deepEqual(keysOf({}, { LORIKEET_API_KEYS: "" }), []);
});

test("a source without a valid key is refused, and the message shows nothing of its contents", () => {
  for (const content of ["", "\n\n", "# only a remark\n", "sec ret\n", "good-key\ns\u00e9cret\n", "sec\u0000ret"]) {
    assert.throws(
      () => keysOf({ apiKeyFile: file(content) }),
      (error: Error) =>
        error.name === "UsageError" && /--api-key-file/.test(error.message) && !/ret/.test(error.message),
    );
  }
  assert.throws(() => keysOf({}, { LORIKEET_API_KEYS: " , " }), /LORIKEET_API_KEYS holds no key/);
  assert.throws(() => keysOf({ apiKeyFile: join(folder, "absent") }), /cannot be read \(ENOENT\)/);
});

test("a host beyond loopback needs a key or --no-auth, and not both", () => {
  for (const host of ["0.0.0.0", "::", "192.168.1.5", "box.example"]) {
    assert.throws(() => keysOf({ host }), /--api-key-file.*LORIKEET_API_KEYS.*--no-auth/);
    assert.deepEqual(keysOf({ host }, { LORIKEET_API_KEYS: "key" }), ["key"]);
    assert.deepEqual(keysOf({ host, noAuth: "true" }), []);
    assert.deepEqual(keysOf({ host }, { LORIKEET_NO_AUTH: "1" }), []);
  }
  for (const host of ["127.0.0.1", "localhost", "::1"]) assert.deepEqual(keysOf({ host }), []);
  assert.throws(() => keysOf({ noAuth: "true" }, { LORIKEET_API_KEYS: "key" }), /cannot be used together/);
});

test("a command's key is the first of its file, else LORIKEET_API_KEY, else that of LORIKEET_API_KEY_FILE", () => {
  const path = file("from-file\nother\n");
  assert.equal(readClientKey(null, {}), null);
  assert.equal(readClientKey(null, { LORIKEET_API_KEY: "from-variable" }), "from-variable");
  assert.equal(readClientKey(path, { LORIKEET_API_KEY: "from-variable" }), "from-file");
  assert.equal(readClientKey(null, { LORIKEET_API_KEY_FILE: path }), "from-file");
  assert.equal(readClientKey(null, { LORIKEET_API_KEY: "v", LORIKEET_API_KEY_FILE: path }), "v");
});

test("the log never holds a key, wherever a client puts it", () => {
  const written: string[] = [];
  const logger = createLogger(
    "info",
    { write: (text) => void written.push(text) },
    { secrets: ["sk-secret", 'a"b\\c'] },
  );
  const body = { prompt: ["my key is sk-secret", 'and a"b\\c'], "sk-secret": 1 };
  logger.info({ requestId: "sk-secret", path: "/v1/sk-secret", body, ms: 12 }, "request");
  const out = written.join("");
  const line = JSON.parse(out);
  assert.ok(!out.includes("sk-secret"));
  assert.deepEqual(line.body.prompt, ["my key is [key]", "and [key]"]);
  assert.deepEqual([line.requestId, line.path, line.ms], ["[key]", "/v1/[key]", 12]);
});

test("serve refuses a public host without a key, takes one from the environment, and commands send it", async () => {
  const model = ["--model", "models/bookworm-7m", "--threads", "1", "--max-context", "64"];
  const refused = start(["serve", ...model, "--port", "0", "--host", "0.0.0.0"]);
  assert.equal(await refused.ended, 2);
  assert.match(refused.err, /^lorikeet: --host 0\.0\.0\.0 [^\n]+--no-auth\.\n$/);
  assert.equal(refused.out, "", "nothing was opened");

  const key = "sk-of-the-test-0123";
  const adapters = join(folder, "adapters");
  const server = start(["serve", ...model, "--port", "0", "--adapters", "adapters", "--cache-dir", adapters], {
    LORIKEET_API_KEYS: `other,${key}`,
  });
  const address = await addressOf(server);
  assert.match(server.err, /with 2 keys/);
  assert.equal((await fetch(`${address}/v1/models`)).status, 401);
  assert.equal((await fetch(`${address}/health`)).status, 200);
  const list = ["adapters", "list", "--url", address];
  const without = start(list);
  assert.equal(await without.ended, 9);
  assert.match(without.err, /answered 401: .*LORIKEET_API_KEY.*--api-key-file/);
  for (const run of [start(list, { LORIKEET_API_KEY: key }), start([...list, "--api-key-file", file(`${key}\n`)])]) {
    assert.equal(await run.ended, 0, run.err);
    assert.match(run.out, /^plays /m);
  }
  server.child.kill("SIGTERM");
  assert.equal(await server.ended, 0);
  assert.ok(!(server.out + server.err).includes(key));

  const open = start(["serve", ...model, "--port", "0", "--host", "0.0.0.0", "--no-auth"]);
  await addressOf(open);
  assert.match(open.err, /open to the network, without keys/);
  open.child.kill("SIGTERM");
  assert.equal(await open.ended, 0);
});
