/** What the generated data sets promise: the same bytes for a seed, answers that follow from the sentence, no row in two files. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-recipes-"));
after(() => rmSync(folder, { recursive: true }));

interface Row {
  readonly prompt: string;
  readonly completion: string;
}

function generate(task: string, name: string, ...options: readonly string[]): Record<string, Row[]> {
  const out = join(folder, name);
  execFileSync(process.execPath, ["scripts/generate-data.mjs", task, out, "--train", "2000", ...options]);
  const read = (split: string): Row[] =>
    readFileSync(join(out, `${split}.jsonl`), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
  return { train: read("train"), valid: read("valid"), test: read("test") };
}

for (const task of ["dates", "commands"]) {
  test(`${task}: at least 500 test rows, none of which is trained on; every value of an answer stands in its sentence`, () => {
    const { train = [], valid = [], test: held = [] } = generate(task, task);
    assert.ok(held.length >= 500 && train.length === 2000);
    const prompts = [...train, ...valid, ...held].map(({ prompt }) => prompt);
    assert.equal(new Set(prompts).size, prompts.length);
    for (const { prompt, completion } of held) {
      const answer: Record<string, unknown> = JSON.parse(completion);
      const values = task === "dates" ? [answer.day, answer.year] : Object.values(answer.arguments as object);
      for (const value of values) assert.ok(prompt.includes(String(value)), `${value} in ${prompt}`);
    }
    assert.deepEqual(generate(task, `${task}-again`), { train, valid, test: held });
    assert.notDeepEqual(generate(task, `${task}-other`, "--seed", "2").test, held);
  });
}
