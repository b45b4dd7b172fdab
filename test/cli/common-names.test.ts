/** An option under another program's name is an error that suggests ours. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { benchTrainOptions } from "../../src/cli/bench/options.js";
import { evalOptions } from "../../src/cli/eval/options.js";
import { generateOptions } from "../../src/cli/generate/options.js";
import { commonNames } from "../../src/cli/options/common-names.js";
import { flagName } from "../../src/cli/options/names.js";
import type { OptionTable } from "../../src/cli/options/option.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { mergeOptions } from "../../src/cli/train/merge-options.js";
import { trainOptions } from "../../src/cli/train/options.js";
import { runHere as run } from "../support/program.js";

const tables: readonly OptionTable[] = [
  serveOptions,
  generateOptions,
  trainOptions,
  evalOptions,
  mergeOptions,
  benchTrainOptions,
];

const folder = mkdtempSync(join(tmpdir(), "lorikeet-common-names-"));
after(() => rmSync(folder, { recursive: true }));

test("every common name means an option of some command, and is not one itself", () => {
  const flags = new Set(tables.flatMap((table) => Object.keys(table).map(flagName)));
  for (const [name, meant] of Object.entries(commonNames)) {
    assert.ok(meant.length > 0 && meant.every((option) => tables.some((table) => option in table)), name);
    assert.ok(!flags.has(name), name);
  }
});

test("a command suggests its own option for the name that another program has for it", async () => {
  for (const [args, meant] of [
    [["train", "--lr", "3"], "learning-rate"],
    [["train", "--learning_rate", "3"], "learning-rate"],
    [["train", "--num_train_epochs=3"], "epochs"],
    [["train", "--per-device-train-batch-size", "3"], "batch-size"],
    [["train", "--max_seq_length", "3"], "max-length"],
    [["train", "--lora_rank", "3"], "lora-r"],
    [["train", "--adapter-path", "x"], "output-dir"],
    [["eval", "--limit", "3"], "max-eval-samples"],
    [["eval", "--adapter-path", "x"], "adapter"],
    [["merge", "-m", "x"], "model"],
    [["merge", "--lora", "x"], "adapter"],
    [["serve", "--max-model-len", "3"], "max-context"],
    [["serve", "--max_seq_len", "3"], "max-context"],
    [["serve", "--lora-modules", "a=b"], "adapters"],
    [["serve", "--api-key", "x"], "api-key-file"],
    [["generate", "--max-new-tokens", "3"], "max-tokens"],
    [["generate", "--temp", "3"], "temperature"],
    [["bench", "train", "--max-batch-size", "3"], "batch-size"],
  ] as const) {
    const { code, err } = await run([...args]);
    assert.equal(code, 2);
    const command = args.filter((word) => /^[a-z]+$/.test(word) && word !== "x").join(" ");
    assert.match(
      err,
      new RegExp(
        `^lorikeet: unknown option '.*' \\(Did you mean --${meant}\\?\\) \\(see lorikeet ${command} --help\\)\\n$`,
      ),
    );
  }
});

test("an unknown option of another program names ours", async () => {
  assert.match((await run(["generate", "--prompt", "x"])).err, /unknown option '--prompt'\. The prompt is an argument/);
  assert.match((await run(["pull", "org/x", "--revision", "v1"])).err, /org\/name@revision/);
  assert.match((await run(["pull", "org/x", "--token", "x"])).err, /HF_TOKEN/);
});

test("a name that means nothing to the command gets no suggestion from another command's options", async () => {
  for (const args of [
    ["merge", "--lr", "3"],
    ["pull", "--max-model-len", "3"],
    ["serve", "--constructor", "3"],
  ]) {
    assert.doesNotMatch((await run(args)).err, /Did you mean/);
  }
});

test("a key of a config file gets the same suggestion", async () => {
  const path = join(folder, "recipe.yaml");
  writeFileSync(path, "lr: 1\n");
  const { code, err } = await run(["train", "--config", path]);
  assert.equal(code, 2);
  assert.equal(err, `lorikeet: "lr" in ${path} is not an option: did you mean "learning-rate"?\n`);
});
