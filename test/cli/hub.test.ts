/** Commands with a model or an adapter given by name, against a hub on loopback. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { basesOfModels } from "../../src/cli/serve/base-settings.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { privateFoldersOf } from "../../src/cli/serve/private-folders.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import { LoopbackHub, repositoryOf } from "../support/hub.js";
import { addressOf, killAll, start } from "../support/process.js";
import { runHere } from "../support/program.js";
import { writeRandomAdapter } from "../support/random-adapter.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-names-"));
let hub: LoopbackHub;
/** Its model is an ONNX file in a folder, with its checkpoint beside it. */
const policy = "test/fixtures/tasks/policy-mlp";

before(async () => {
  await writeTinyModel(join(folder, "tiny"), "BF16");
  const plays = repositoryOf("adapters/plays");
  hub = await LoopbackHub.start({
    "org/tiny": repositoryOf(join(folder, "tiny")),
    "org/bookworm-7m": repositoryOf("models/bookworm-7m"),
    "org/policy": repositoryOf(policy, [
      "config.json",
      "model.safetensors",
      "onnx/model.onnx",
      "onnx/model_dynamo.onnx",
    ]),
    "org/plays": { ...plays, baseModel: "org/bookworm-7m" },
  });
});

after(async () => {
  killAll();
  await hub[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const variablesOf = (home: string) => ({
  HF_ENDPOINT: hub.endpoint,
  HF_HOME: join(folder, home),
  LORIKEET_CACHE_DIR: join(folder, "cache"),
});
const shaOf = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
const statOf = (path: string) => statSync(path, { throwIfNoEntry: false });
const run = (home: string, ...args: string[]) => runQuietly(args, variablesOf(home));

/** Without the progress lines that a busy machine makes appear. */
async function runQuietly(args: readonly string[], variables: Record<string, string>) {
  const ended = await runHere(args, variables);
  return { ...ended, err: ended.err.replace(/^(looking up|downloading|waiting for|starting the engine).*\n/gm, "") };
}

test("pull prints a model's folder and size, and which files were cached", async () => {
  const first = await run("pull", "pull", "org/tiny");
  assert.deepEqual([first.code, first.err], [0, ""]);
  assert.match(first.out, /^model\.safetensors +[\d.]+ KiB +downloaded$/m);
  assert.match(first.out, /^folder +.*models--org--tiny\/snapshots\/[0-9a-f]{40}$/m);
  assert.match(first.out, /^use +lorikeet serve --model org\/tiny$/m);
  assert.match((await run("pull", "pull", "org/tiny")).out, /up to date$/m);
  const { kind, received_bytes: fetched } = JSON.parse((await run("pull", "pull", "hf://org/plays", "--json")).out);
  assert.deepEqual([kind, fetched > 0], ["adapter", true]);
});

test("a cached model is used without a request to the hub", async () => {
  assert.match((await run("cached", "inspect", "org/tiny")).out, /^family +llama$/m);
  const { length } = hub.seen;
  const variables = variablesOf("cached");
  for (const offline of [{}, { HF_HUB_OFFLINE: "1" }]) {
    const { code, err } = await runQuietly(["inspect", "org/tiny@main"], { ...variables, ...offline });
    assert.deepEqual([code, err], [0, ""]);
  }
  assert.equal(hub.seen.length, length);
});

test("an existing folder wins over a repository of the same name", async () => {
  const { length } = hub.seen;
  const { code, out } = await run("folders", "inspect", "models/bookworm-7m");
  assert.equal(code, 0);
  assert.match(out, /^model +.*models\/bookworm-7m$/m);
  assert.equal(hub.seen.length, length);
});

test("missing files are downloaded, and a usable partial snapshot is served while the hub is down", async () => {
  const pulled = JSON.parse((await run("part", "pull", "org/tiny", "--json")).out);
  rmSync(join(pulled.folder, "tokenizer.json"));
  const away = { ...variablesOf("part"), HF_HUB_OFFLINE: "1" };
  assert.match((await runHere(["inspect", "org/tiny"], away)).out, /^chats +none/m);
  assert.match((await run("part", "inspect", "org/tiny")).out, /^chats +rendered/m);
  rmSync(join(pulled.folder, "model.safetensors"));
  const { code, err } = await runHere(["inspect", "org/tiny"], away);
  assert.deepEqual([code, /incomplete in the Hugging Face cache, and HF_HUB_OFFLINE is set/.test(err)], [9, true], err);
});

test("generate, train, eval and merge take a name, and adapters record it as their base", async () => {
  const data = join(folder, "rows.jsonl");
  const rows = Array.from({ length: 8 }, (_, i) => JSON.stringify({ prompt: `${i}:`, completion: ` ${i}` }));
  writeFileSync(data, rows.join("\n"));
  const out = join(folder, "trained");
  const model = ["--model", "org/tiny", "--threads", "1"];
  const trained = await run(
    "work",
    "train",
    ...model,
    "--data",
    data,
    "--output-dir",
    out,
    "--max-steps",
    "2",
    "--max-length",
    "32",
  );
  assert.equal(trained.code, 0, trained.err);
  assert.equal(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8")).base_model_name_or_path, "org/tiny");
  const judged = await run("work", "eval", ...model, "--data", data, "--adapter", out, "--max-length", "32");
  assert.equal(judged.code, 0, judged.err);
  const generated = await run("work", "generate", ...model, "--max-tokens", "2", "--temperature", "0", "1:");
  assert.equal(generated.code, 0, generated.err);
  const merged = join(folder, "merged");
  const merge = await run("work", "merge", "--model", "org/tiny", "--adapter", out, "--output-dir", merged);
  assert.equal(merge.code, 0, merge.err);
  assert.match((await run("work", "inspect", merged)).out, /^family +llama$/m);
});

test("an adapter on the hub is added to the folder, with its README", async () => {
  const adapters = join(folder, "adapters");
  mkdirSync(adapters);
  const where = ["--adapters", adapters, "--model", "org/bookworm-7m"];
  const added = await run("adapters", "adapters", "add", "bard", "hf://org/plays", ...where);
  assert.deepEqual([added.code, added.err], [0, ""]);
  assert.match(added.out, /^bard was created/);
  const direct = join(folder, "direct");
  mkdirSync(direct);
  cpSync("adapters/plays", join(folder, "plays"), { recursive: true });
  const local = ["--adapters", direct, "--model", "org/bookworm-7m"];
  await run("adapters", "adapters", "add", "bard", join(folder, "plays"), ...local);
  const digestIn = async (place: string): Promise<string> => {
    const { out } = await run("adapters", "adapters", "list", "--adapters", place, "--json");
    return JSON.parse(out).adapters[0].digest;
  };
  assert.equal(await digestIn(adapters), await digestIn(direct), "the same files as those of the folder itself");
});

test("a model given by name is served under it, with an adapter from the hub", async () => {
  const adapters = join(folder, "served");
  mkdirSync(adapters);
  const variables = variablesOf("served");
  const options = ["--port", "0", "--adapters", adapters, "--threads", "1", "--log-level", "silent"];
  const server = start(["serve", "--model", "org/bookworm-7m", "--model", "org/policy", ...options], variables);
  const url = await addressOf(server);
  const added = await run("served", "adapters", "add", "bard", "hf://org/plays", "--url", url);
  assert.equal(added.code, 0, added.err);
  const listed = JSON.parse(await (await fetch(`${url}/v1/models`)).text()) as { data: { id: string }[] };
  assert.deepEqual(listed.data.map(({ id }) => id).sort(), ["bard", "org/bookworm-7m", "org/policy"]);
  assert.equal((await fetch(`${url}/v2/models/org%2Fpolicy`)).status, 200);
  const pulled = JSON.parse((await run("served", "pull", "org/policy", "--json")).out) as {
    files: { name: string; fetched: boolean }[];
  };
  assert.deepEqual(
    pulled.files.map(({ name, fetched }) => [name, fetched]),
    [
      ["config.json", false],
      ["model.safetensors", false],
      ["onnx/model.onnx", false],
    ],
  );
  server.child.kill("SIGTERM");
  assert.equal(await server.ended, 0, server.err);
});

test("--init-from finds the own adapters of a model given by name", async () => {
  const pulled = JSON.parse((await run("own", "pull", "org/tiny", "--json")).out);
  const modules = targetModules((await openCheckpoint(pulled.folder)).config);
  await writeRandomAdapter(join(pulled.folder, "adapters", "kept"), modules, { rank: 2, seed: 1, strength: 1 });
  const data = join(folder, "rows.jsonl");
  writeFileSync(data, [1, 2, 3].map((i) => JSON.stringify({ prompt: `${i}:`, completion: ` ${i}` })).join("\n"));
  const options = ["--model", "org/tiny", "--data", data, "--max-steps", "1", "--max-length", "16", "--threads", "1"];
  const planned = await run("own", "train", ...options, "--init-from", "kept", "--dry-run");
  assert.equal(planned.code, 0, planned.err);
});

test("--onnx-file chooses one of a repository's ONNX files, also from the cache, and lists them for a wrong name", async () => {
  const wrong =
    /^lorikeet: org\/policy has no ONNX file "model_q4\.onnx": it has onnx\/model\.onnx, onnx\/model_dynamo\.onnx\.\n$/;
  const unknown = await run("file", "pull", "org/policy", "--onnx-file", "model_q4.onnx");
  assert.deepEqual([unknown.code, wrong.test(unknown.err)], [3, true], unknown.err);
  const chosen = ["--onnx-file", "model_dynamo.onnx"];
  const pulled = JSON.parse((await run("file", "pull", "org/policy", ...chosen, "--json")).out) as {
    files: { name: string }[];
  };
  const files = pulled.files.map(({ name }) => name).sort();
  assert.deepEqual(files, ["config.json", "model.safetensors", "onnx/model_dynamo.onnx"]);
  assert.match(
    (await run("file", "pull", "org/policy", ...chosen)).out,
    /^use +lorikeet serve --model org\/policy --onnx-file model_dynamo\.onnx$/m,
  );
  const away = { ...variablesOf("file"), HF_HUB_OFFLINE: "1" };
  const serve = ["serve", "--model", "org/policy", "--port", "0", "--threads", "1", "--log-level", "silent"];
  const absent = await runQuietly([...serve, "--onnx-file", "onnx/model.onnx"], away);
  assert.equal(absent.code, 3, absent.err);
  assert.match(absent.err, /: org\/policy has no ONNX file "onnx\/model\.onnx": it has onnx\/model_dynamo\.onnx\.\n$/);
  const two = await runQuietly([...serve, "--model", "org/tiny", ...chosen], away);
  assert.match(two.err, /--onnx-file is for one base/);
  const snapshot = JSON.parse((await runQuietly(["inspect", "org/policy", ...chosen, "--json"], away)).out) as {
    folder: string;
    files: { label: string }[];
  };
  assert.deepEqual(
    snapshot.files.map(({ label }) => label),
    ["onnx/model_dynamo.onnx"],
  );
  cpSync(join(policy, "adapters", "first-r8"), join(snapshot.folder, "adapters", "brought"), { recursive: true });
  const server = start([...serve, ...chosen], away);
  const url = await addressOf(server);
  assert.equal((await fetch(`${url}/v2/models/org%2Fpolicy`)).status, 200);
  assert.equal((await fetch(`${url}/v2/models/brought`)).status, 200, "the snapshot's own adapters are served");
  server.child.kill("SIGTERM");
  assert.equal(await server.ended, 0, server.err);
});

test("a server's answers name neither the snapshot of its model nor the cache around it", () => {
  const flags = { model: "/data/hub/models--org--tiny/snapshots/0123abcd" };
  const settings = resolveSettings(serveOptions, { flags, environment: {}, file: {} });
  const folders = privateFoldersOf(settings, basesOfModels(settings));
  for (const path of ["/data/hub/models--org--tiny/snapshots/0123abcd", "/data/hub"]) assert.ok(folders.includes(path));
  const file = { ...settings, model: ["/data/hub/models--org--tiny/snapshots/0123abcd/onnx/model_q4.onnx"] };
  assert.ok(privateFoldersOf(file, basesOfModels(file)).includes("/data/hub"));
});

test("an invalid, missing or misspelled name is one line with a hint", async () => {
  const variables = { ...variablesOf("faults"), HF_HUB_OFFLINE: "" };
  await run("faults", "pull", "org/tiny");
  const cases: [args: string[], code: number, words: RegExp][] = [
    [["inspect", "../nowhere"], 2, /must be a folder; \.\.\/nowhere does not exist/],
    [
      ["serve", "--model", "nowhere"],
      2,
      /--model must be a folder, or a model's name \(org\/name\); nowhere is neither/,
    ],
    [
      ["inspect", "models/bookworm-7n"],
      2,
      /^lorikeet: <model> must be a folder; models\/bookworm-7n does not exist\. Did you mean the folder models\/bookworm-7m\? hf:\/\/models\/bookworm-7n names a repository of the hub\.\n$/,
    ],
    [
      ["eval", "--model", "models/x", "--data", "x"],
      2,
      /models\/x does not exist\. The folder models holds bookworm-7m/,
    ],
    [
      ["serve", "--model", "nowhere/model.onnx"],
      2,
      /--model must be a folder or an \.onnx file; nowhere\/model\.onnx does not exist/,
    ],
    [["inspect", "hf://models/x"], 2, /127\.0\.0\.1:\d+ has no model or adapter models\/x/],
    [
      ["serve", "--model", "modles/bookworm-7m"],
      2,
      /^lorikeet: There is no folder modles\/bookworm-7m\. 127\.0\.0\.1:\d+ has no model modles\/bookworm-7m, or .* Did you mean the folder models\/bookworm-7m\?\n$/,
    ],
    [
      ["serve", "--model", "modles/x"],
      2,
      /There is no folder modles\/x\. .* The folder models holds bookworm-7m, digits, .*scenes\.\n$/,
    ],
    [["serve", "--model", "tniy"], 2, /tniy is neither\. Did you mean org\/tiny, which is in the cache\?\n$/],
    [
      ["pull", "org/tinny"],
      2,
      /has no model or adapter org\/tinny.*Did you mean org\/tiny, which is in the cache\?\n$/,
    ],
    [["adapters", "add", "x", "hf://org/playz"], 2, /has no adapter org\/playz, or it is private/],
    [
      ["inspect", "org/tinny"],
      2,
      /has no model or adapter org\/tinny.*Did you mean org\/tiny, which is in the cache\?/,
    ],
    [["pull", "org/tiny@../x"], 2, /is not a valid revision of org\/tiny/],
    [["pull", "nowhere"], 2, /<name> must be a model or adapter's name \(org\/name\); nowhere is not one\./],
    [["serve", "--model", "org/plays"], 3, /org\/plays is an adapter, not a model: give --model org\/bookworm-7m/],
    [["adapters", "add", "x", "hf://org/tiny"], 5, /org\/tiny is a whole model, not an adapter/],
    [["adapters", "add", "x", "hf://nowhere"], 2, /must be hf:\/\/org\/name/],
  ];
  for (const [args, code, words] of cases) {
    const ended = await runQuietly(args, variables);
    assert.equal(ended.code, code, `${args.join(" ")}: ${ended.err}`);
    assert.match(ended.err, words);
    assert.match(ended.err, /^lorikeet: [^\n]+\n$/);
  }
  const bad = await runHere(["pull", "org/tiny"], { ...variables, HF_ENDPOINT: "hub.example" });
  assert.deepEqual([bad.code, /HF_ENDPOINT must be/.test(bad.err)], [2, true]);
});

test("the next pull resumes one that was killed", async () => {
  hub.fail({ path: "model.safetensors", stallAfter: 4_000_000 });
  const variables = variablesOf("killed");
  const killed = start(["pull", "org/bookworm-7m"], { ...variables, HF_HUB_DOWNLOAD_TIMEOUT: "600" });
  const part = join(
    folder,
    "killed/hub/models--org--bookworm-7m/blobs",
    `${shaOf("models/bookworm-7m/model.safetensors")}.incomplete`,
  );
  while ((statOf(part)?.size ?? 0) < 4_000_000) await new Promise((resolve) => setTimeout(resolve, 20));
  killed.child.kill("SIGKILL");
  assert.equal(await killed.ended, "SIGKILL");
  const { code, out } = await runHere(["pull", "org/bookworm-7m"], variables);
  assert.equal(code, 0);
  assert.equal(hub.seen.filter(({ host }) => host === "files").at(-1)?.range, "bytes=4000000-");
  assert.match(out, /^model\.safetensors +14 MiB +downloaded$/m);
});

test("two processes pull the same model at once, and only one downloads it", async () => {
  const before = hub.seen.length;
  const variables = variablesOf("both");
  const pulls = [start(["pull", "org/bookworm-7m"], variables), start(["pull", "org/bookworm-7m"], variables)];
  for (const pull of pulls) assert.equal(await pull.ended, 0, pull.err);
  const large = hub.seen
    .slice(before)
    .filter(({ host, path }) => host === "files" && path.endsWith("model.safetensors"));
  assert.equal(large.length, 1);
});
