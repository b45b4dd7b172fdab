/** Adapters merged into task models compute what PEFT computes with them, and `eval` judges both alike. */

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { onlyWhenLong } from "../../support/long.js";
import { runHere } from "../../support/program.js";
import {
  openGraph,
  readExpectedTensors,
  relativeError,
  runGraph,
  taskModels,
  taskRoot,
} from "../../support/task-models.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-merge-task-"));
after(() => rmSync(folder, { recursive: true }));

/** A head of another size, DoRA, convolutions with folded normalizations and with groups are among these. */
const always: readonly string[] = ["bert-sequence-classification", "efficientnet"];

for (const model of taskModels.filter((name) => name !== "marian")) {
  test(`merged adapters of ${model} give PEFT's outputs`, always.includes(model) ? {} : onlyWhenLong, async () => {
    const base = join(taskRoot, model);
    const inputs = await readExpectedTensors(model);
    for (const name of readdirSync(join(base, "adapters"))) {
      const out = join(folder, model, name);
      const adapter = join(base, "adapters", name);
      const { code, err } = await runHere(["merge", "--model", base, "--adapter", adapter, "--output-dir", out]);
      if (model === "efficientnet" && name === "all-r4-rslora") {
        assert.match(err, /conv_dw cannot be merged: its adapter reads all channels, and the convolution has groups/);
        continue;
      }
      assert.equal(code, 0, err);
      const found = await runGraph(await openGraph(join(out, "onnx", "model.onnx")), inputs);
      const expected = await readExpectedTensors(join(model, "adapters", name));
      for (const [output, { data }] of expected) {
        if (!found.has(output)) continue;
        const error = relativeError(found.get(output), data as Float32Array);
        assert.ok(error <= 2e-5, `${name} ${output}: ${error}`);
      }
    }
  });
}

test("eval measures a base, an adapter and a merged model by the task's metrics", async () => {
  const base = join(taskRoot, "bert-sequence-classification");
  const adapter = join(base, "adapters", "dora");
  const merged = join(folder, "bert-sequence-classification", "dora");
  const data = join(folder, "rows.jsonl");
  const texts: { text: string }[] = JSON.parse(readFileSync(join(base, "texts.json"), "utf8"));
  const labels = ["positive", "negative", "neutral"];
  const rows = texts.map(({ text }, i) => JSON.stringify({ text, label: labels[i % 3] }));
  writeFileSync(data, `${rows.join("\n")}\n`);
  const judge = async (...more: string[]) => {
    const { code, out, err } = await runHere(["eval", "--data", data, "--json", ...more]);
    assert.equal(code, 0, err);
    return JSON.parse(out);
  };
  const [plain, adapted, whole] = [
    await judge("--model", base),
    await judge("--model", base, "--adapter", adapter),
    await judge("--model", merged),
  ];
  assert.deepEqual([plain.task, plain.rows], ["text-classification", texts.length]);
  assert.notEqual(adapted.loss, plain.loss);
  assert.ok(Math.abs(adapted.loss - whole.loss) < 1e-5 * adapted.loss);
  assert.deepEqual(adapted.metrics, whole.metrics);
  const refused = await runHere(["eval", "--data", data, "--model", base, "--details", "x.jsonl"]);
  assert.match(refused.err, /--details is for decoders; the model is a task model\./);
});

test("a merge replaces no trained adapter and no checkpoints of a run", async () => {
  const base = join(taskRoot, "bert-sequence-classification");
  const merge = (out: string) =>
    runHere([
      "merge",
      "--model",
      base,
      "--adapter",
      join(base, "adapters", "dora"),
      "--output-dir",
      out,
      "--overwrite",
    ]);
  for (const kept of ["adapter_config.json", "checkpoints"]) {
    const out = join(folder, "made", kept);
    mkdirSync(join(out, kept), { recursive: true });
    writeFileSync(join(out, "lorikeet.json"), "{}");
    const { code, err } = await merge(out);
    assert.deepEqual(
      [code, err.includes(`holds an adapter or the checkpoints of a run (it has ${kept})`)],
      [1, true],
      err,
    );
    assert.deepEqual(readdirSync(out).sort(), [kept, "lorikeet.json"].sort());
  }
});

test("a merged model has the adapter's labels, also where lorikeet.json of the base names others", async () => {
  const from = join(taskRoot, "bert-sequence-classification");
  const [base, adapter, out] = ["named", "named-adapter", "named-merged"].map((name) => join(folder, name));
  assert.ok(base && adapter && out);
  cpSync(from, base, { recursive: true, filter: (source) => !source.endsWith("adapters") });
  cpSync(join(from, "adapters", "dora"), adapter, { recursive: true });
  writeFileSync(join(base, "lorikeet.json"), JSON.stringify({ labels: ["x", "y", "z"], pooling: "cls" }));
  writeFileSync(join(adapter, "labels.json"), JSON.stringify(["a", "b", "c"]));
  const { code, err } = await runHere(["merge", "--model", base, "--adapter", adapter, "--output-dir", out]);
  assert.equal(code, 0, err);
  const { labels, pooling } = JSON.parse(readFileSync(join(out, "lorikeet.json"), "utf8"));
  assert.deepEqual([labels, pooling], [["a", "b", "c"], "cls"]);
});
