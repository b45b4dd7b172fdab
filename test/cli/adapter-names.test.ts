/** `--adapter` and `--init-from`: a name in the adapters folder or a path, and the errors for wrong ones. */

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openNamedAdapter } from "../../src/cli/adapters/source.js";
import { processTerminal } from "../../src/cli/terminal.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import { runHere } from "../support/program.js";
import { writeRandomAdapter } from "../support/random-adapter.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-adapter-names-"));
const model = join(folder, "tiny");
const adapters = join(folder, "adapters");
const data = join(folder, "rows.jsonl");

before(async () => {
  await writeTinyModel(model, "F32");
  const modules = targetModules((await openCheckpoint(model)).config);
  await writeRandomAdapter(join(adapters, "bard"), modules, { rank: 2, seed: 1, strength: 1 });
  await writeRandomAdapter(join(folder, "outside"), modules, { rank: 2, seed: 2, strength: 1 });
  writeFileSync(data, [1, 2, 3].map((i) => JSON.stringify({ prompt: `${i}:`, completion: ` ${i}` })).join("\n"));
  const { code, err } = await run(
    "adapters",
    "add",
    "stored",
    join(folder, "outside"),
    "--adapters",
    adapters,
    "--model",
    model,
  );
  assert.equal(code, 0, err);
});
after(() => rmSync(folder, { recursive: true }));

const run = (...args: string[]) => runHere(args, { LORIKEET_CACHE_DIR: join(folder, "cache") });
const shared = ["--model", model, "--threads", "1"];
const evaluate = (...args: string[]) => run("eval", ...shared, "--data", data, "--no-exact-match", "--json", ...args);
const generate = (...args: string[]) =>
  run("generate", ...shared, "--temperature", "0", "--max-tokens", "6", "--json", ...args, "1:");

test("a name in the adapters folder, stored or beside the store, and a path lead to the same weights", async () => {
  const terminal = processTerminal();
  const weightsOf = async (adapter: string): Promise<Buffer> => {
    await using source = await openNamedAdapter(adapter, { option: "--adapter", adapters, model: null }, terminal);
    return readFileSync(join(source.folder, "adapter_model.safetensors"));
  };
  const bard = await weightsOf("bard");
  const stored = await weightsOf("stored");
  assert.deepEqual(await weightsOf(join(adapters, "bard")), bard);
  assert.deepEqual(await weightsOf(join(folder, "outside")), stored);
  assert.notDeepEqual(stored, bard);
});

test("eval and generate take a name, and a path whose name is the model's", async () => {
  const judged = await evaluate("--adapter", "stored", "--adapters", adapters);
  assert.equal(judged.code, 0, judged.err);
  assert.match(JSON.parse(judged.out).adapter, /^sha256:/);
  const tricky = join(folder, "other", "tiny");
  mkdirSync(join(folder, "other"));
  cpSync(join(folder, "outside"), tricky, { recursive: true });
  const texts: string[] = [];
  for (const adapter of ["stored", tricky, "bard"]) {
    const spoken = await generate("--adapter", adapter, "--adapters", adapters);
    assert.equal(spoken.code, 0, spoken.err);
    const answer = JSON.parse(spoken.out);
    if (adapter !== tricky) assert.equal(answer.model, adapter);
    texts.push(answer.choices[0].text);
  }
  const [byName, byPath, other] = texts;
  assert.equal(byPath, byName);
  assert.notEqual(other, byName);
});

test("merge and train --init-from take a name too", async () => {
  const merged = await run(
    "merge",
    "--model",
    model,
    "--adapter",
    "stored",
    "--adapters",
    adapters,
    "--output-dir",
    join(folder, "merged"),
  );
  assert.equal(merged.code, 0, merged.err);
  const args = [
    "train",
    ...shared,
    "--data",
    data,
    "--max-steps",
    "1",
    "--max-length",
    "16",
    "--validation-split",
    "0",
  ];
  const begun = [...args, "--init-from", "bard", "--output-dir", join(folder, "begun"), "--json"];
  const trained = await runHere(begun, { LORIKEET_ADAPTERS: adapters });
  assert.equal(trained.code, 0, trained.err);
});

test("a model's own adapters are found by name in every command", async () => {
  const whole = join(folder, "whole");
  cpSync(model, whole, { recursive: true });
  cpSync(join(adapters, "bard"), join(whole, "adapters", "kept"), { recursive: true });
  const [empty, ofModel] = [join(folder, "no-adapters"), ["--model", whole]];
  mkdirSync(empty);
  const place = ["--adapters", empty, ...ofModel];
  const named = ["--threads", "1", "--adapter", "kept", ...place];
  const evaluated = await run("eval", ...named, "--data", data, "--no-exact-match", "--json");
  const bard = await evaluate("--adapter", "bard", "--adapters", adapters);
  assert.equal(JSON.parse(evaluated.out).loss, JSON.parse(bard.out).loss, evaluated.err);
  const answered = await run("generate", ...named, "--max-tokens", "2", "1:");
  assert.equal(answered.code, 0, answered.err);
  const merged = await run("merge", ...place, "--adapter", "kept", "--output-dir", join(folder, "merged-kept"));
  assert.equal(merged.code, 0, merged.err);
  const listed = JSON.parse((await run("adapters", "list", ...place, "--json")).out);
  assert.deepEqual(
    listed.adapters.map(({ name, source }: { name: string; source: string }) => [name, source]),
    [["kept", "base"]],
  );
  assert.match((await run("adapters", "verify", ...place)).out, /^kept: intact$/m);
  assert.match((await run("inspect", whole)).out, /^own adapters +kept$/m);
  assert.match((await run("inspect", "kept", ...ofModel)).out, /^adapter +.*kept$/m);
  const wrong = await run("generate", ...place, "--adapter", "kep", "1:");
  assert.match(
    wrong.err,
    /in .*no-adapters \(which holds none\) or .*adapters \(which holds kept\) nor a folder\. Did you mean kept\?/,
  );
  cpSync(join(whole, "adapters", "kept"), join(whole, "adapters", "My Adapter"), { recursive: true });
  const unnamable = await run("generate", ...place, "--adapter", "My Adapter", "1:");
  assert.match(unnamable.err, /^lorikeet: The adapter name "My Adapter" is not allowed: [^\n]+\n$/);
  const close = await run("generate", ...place, "--adapter", "My Adapte", "1:");
  assert.match(close.err, /which holds My Adapter, kept\) nor a folder\.\n$/);
});

test("a wrong adapter name is answered with the places searched and a suggestion", async () => {
  const empty = join(folder, "empty");
  mkdirSync(empty);
  const nowhere = join(folder, "nowhere");
  const commands: [string, (...args: string[]) => ReturnType<typeof run>][] = [
    ["eval", evaluate],
    ["generate", generate],
    ["merge", (...args) => run("merge", "--model", model, "--output-dir", join(folder, "never"), ...args)],
  ];
  for (const [command, call] of commands) {
    for (const [adapter, place, words] of [
      [
        "brad",
        adapters,
        `--adapter brad is neither an adapter in ${adapters} (which holds bard, stored) nor a folder. Did you mean bard?`,
      ],
      ["brad", nowhere, `--adapters must be a folder; ${nowhere} does not exist.`],
      [join(folder, "outsid"), adapters, `nor a folder. Did you mean the folder ${join(folder, "outside")}?`],
      [empty, adapters, `--adapter ${empty} is not an adapter: it has no adapter_config.json.`],
    ] as const) {
      const { code, err } = await call("--adapter", adapter, "--adapters", place);
      assert.equal(code, 2, `${command} ${adapter}: ${err}`);
      assert.ok(err.endsWith(`${words}\n`), `${command}: ${err}`);
      assert.match(err, /^lorikeet: [^\n]+\n$/);
    }
  }
  const bare = await run("eval", ...shared, "--data", data, "--adapter", "no-such-adapter");
  assert.equal(bare.code, 2);
  // The folder of the repository may hold what its user uploaded.
  const looked =
    /--adapter no-such-adapter is neither an adapter in adapters \(which holds .*\bplays\b.*\) nor a folder\.\n$/;
  assert.match(bare.err, looked);
  const add = await run("adapters", "add", "x", join(folder, "outsid"), "--adapters", adapters, "--model", model);
  assert.deepEqual([add.code, add.err.includes("outsid does not exist. Did you mean the folder")], [2, true], add.err);
  const unchecked = await run("adapters", "add", "x", join(folder, "outside"), "--adapters", adapters);
  assert.deepEqual(
    [unchecked.code, /--model <model> is required .* or --url <address>/.test(unchecked.err)],
    [2, true],
  );
});
