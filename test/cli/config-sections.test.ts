/** A config file that several commands share: keys for all that know them, and a section for each command. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readOptions } from "../../src/cli/options/command-line.js";
import { trainOptions } from "../../src/cli/train/options.js";
import { runHere as run, silentProgram } from "../support/program.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-sections-"));
after(() => rmSync(folder, { recursive: true }));
const put = (text: string): string => {
  const path = join(folder, "shared.yaml");
  writeFileSync(path, text);
  return path;
};

/** The settings that `train` reads. */
async function trainSettings(path: string, ...args: string[]) {
  const program = await silentProgram();
  const train = program.commands.find((command) => command.name() === "train");
  assert.ok(train);
  train.parseOptions(["--config", path, ...args]);
  return readOptions(train, trainOptions, {});
}

test("a command skips keys that only others know, and its own section wins over shared keys", async () => {
  const path = put("port: 1\nseed: 3\nexact: true\ntrain:\n  dtype: int8\n  seed: 4\nserve:\n  dtype: auto\neval:\n");
  const { dtype, seed } = await trainSettings(path);
  assert.deepEqual([dtype, seed], ["int8", 4]);
  assert.equal((await trainSettings(path, "--seed", "5")).seed, 5);
  assert.equal((await trainSettings(put("seed: 3\nserve:\n  port: 1\n"))).seed, 3);
});

test("what no command knows, and what a section's command does not know, are errors with a suggestion", async () => {
  for (const [text, words] of [
    ["prot: 1\n", '"prot" in PATH is not an option: did you mean "port"?'],
    ["url: http://x\n", '"url" in PATH is not an option: its keys are the flags of --help without the dashes.'],
    ["trian:\n  seed: 1\n", '"trian" in PATH is not an option: did you mean "train"?'],
    ["train:\n  port: 1\n", '"port" in PATH is not an option: its keys are the flags of --help without the dashes.'],
    ["train:\n  lr: 1\n", '"lr" in PATH is not an option: did you mean "learning-rate"?'],
    ["train: 5\n", '"train" in PATH is the section of a command: it must hold that command\'s options.'],
    ["train:\n  seed: x\n", '"seed" in PATH must be a whole number of at least 0, not "x".'],
  ] as const) {
    const path = put(text);
    const { code, err } = await run(["train", "--config", path]);
    assert.deepEqual([code, err], [2, `lorikeet: ${words.replace("PATH", path)}\n`]);
  }
});

test("bench train has a section of its own", async () => {
  const path = put("train:\n  batch-size: 3\nbench train:\n  batch-size: x\n");
  assert.match((await run(["bench", "train", "--config", path])).err, /"batch-size" in .* must be a whole number/);
});
