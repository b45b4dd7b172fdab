/** `train` over policies: rows of observations and actions, with and without targets. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { post } from "../../support/client.js";
import { runHere } from "../../support/program.js";
import { openService } from "../../support/service.js";
import { taskRoot } from "../../support/task-models.js";
import { rowsFile, train } from "../../support/task-training.js";

const model = join(taskRoot, "policy-mlp");
const transitions = rowsFile(
  "transitions",
  Array.from({ length: 40 }, (_, i) => {
    const observation = [0, 1, 2, 3].map((k) => Math.sin(7 * i + 3 * k));
    return { observation, action: (observation[0] ?? 0) > 0 ? 1 : 0 };
  }),
);

test("a policy is cloned from recorded transitions", async () => {
  const open = await train(model, transitions, "clone");
  assert.match(open.err, /does not say what it is made for: --task names one of .*reinforcement-learning/);
  const {
    code,
    err,
    results,
    folder: run,
  } = await train(model, transitions, "clone", "--task", "reinforcement-learning");
  assert.equal(code, 0, err);
  assert.ok(results.validation_loss < results.base_validation_loss);
  assert.ok(results.served_check.difference < 1e-5);
  const [sample] = results.samples;
  assert.match(sample.prompt, /^-?[\d.]+(e-\d+)?(, -?[\d.]+(e-\d+)?){3}$/);
  for (const text of [sample.expected, sample.before, sample.after]) assert.match(text, /^[01]$/);
  assert.match(readFileSync(join(run, "training.jsonl"), "utf8"), /"samples":\[\{"prompt":/);
});

test("a model that --method full trained is served, and trained further from its checkpoints", async () => {
  const options = ["--method", "full", "--learning-rate", "0.01", "--lr-scheduler-type", "constant"];
  const whole = await train(model, transitions, "full", "--task", "reinforcement-learning", ...options);
  assert.equal(whole.code, 0, whole.err);
  const { base_validation_loss: before, validation_loss: now, served_check: check } = whole.results;
  assert.ok(now < before && check.difference < 1e-5, JSON.stringify(whole.results));
  const part = await train(
    model,
    transitions,
    "full-part",
    ...["--task", "reinforcement-learning", ...options, "--max-steps", "4"],
  );
  const resume = ["train", "--resume", "--output-dir", part.folder, "--max-steps", "8", "--threads", "1", "--json"];
  const resumed = await runHere([...resume, "--model", model, "--data", transitions]);
  assert.equal(resumed.code, 0, resumed.err);
  const bytesOf = (run: string): Buffer => readFileSync(join(run, "onnx", "model.onnx"));
  assert.deepEqual(bytesOf(part.folder), bytesOf(whole.folder));
  assert.match(readFileSync(join(whole.folder, "README.md"), "utf8"), /library_name: onnx\n/);
  await using service = await openService({ model: whole.folder });
  const observation = [1, 0.5, -0.5, 0];
  const inputs = [{ name: "observation", shape: [1, 4], datatype: "FP32", data: observation }];
  const answer = await (await post(service.url, "/v2/models/full/infer", { inputs })).json();
  const [{ data = [] } = {}] = (answer as { outputs: { data?: number[] }[] }).outputs;
  assert.ok((data[1] ?? 0) > (data[0] ?? 0), JSON.stringify(data));
  for (const [more, message] of [
    [["--lora-r", "8"], /--lora-r is for adapters; --method full does not train one\./],
    [["--modules-to-save", "net.4"], /--modules-to-save is for adapters/],
  ] as const) {
    const { code, err } = await train(model, transitions, "refused", ...options, ...more);
    assert.notEqual(code, 0);
    assert.match(err, message);
  }
});

test("a number that float32 does not hold is a fault of its row", async () => {
  const observation = [0.1, 0.2, 0.3, 0.4];
  const faulty = rowsFile("infinite", [
    { observation: [0, 1e39, 0, 0], action: 1 },
    { observation: [0, 0, null, 0], action: 1 },
    { observation: [0, [0], 0, 0], action: 1 },
    { observation, action: 1, target: 1e39 },
    { observation, action: 1, advantage: 1, return: -1e39 },
    { observation, action: [0, 1e39] },
  ]);
  const { code, err } = await train(model, faulty, "infinite", "--task", "reinforcement-learning");
  assert.equal(code, 4, err);
  for (const fault of [
    /:1: must have a number that float32 holds as `observation\[1\]`, not 1e\+39$/m,
    /:2: must have a number that float32 holds as `observation\[2\]`, not null$/m,
    /:3: has the shape \[1\] in `observation\[1\]` and \[\] in `observation\[0\]`$/m,
    /:4: must have a number that float32 holds as `target`, not 1e\+39$/m,
    /:5: must have a number that float32 holds as `return`, not -1e\+39$/m,
    /:6: must have numbers that float32 holds in `action`, not 1e\+39 as number 2$/m,
  ])
    assert.match(err, fault);
});

test("a policy learns how well actions went", async () => {
  const observation = [0.1, 0.2, 0.3, 0.4];
  const learn = (name: string, ...rows: object[]) =>
    train(model, rowsFile(name, rows), name, "--task", "reinforcement-learning");
  const rows = Array.from({ length: 16 }, (_, i) => ({ observation, action: i % 2, target: i % 2 }));
  const valued = await learn("valued", ...rows);
  assert.equal(valued.code, 0, valued.err);
  const { base_validation_metrics: before, validation_metrics: now } = valued.results;
  assert.ok(now.mean_absolute_error < before.mean_absolute_error, JSON.stringify([before, now]));
  const [sample] = valued.results.samples;
  assert.deepEqual([sample.prompt, sample.expected.replace(/[01]/g, "n")], ["0.1, 0.2, 0.3, 0.4", "action n: n"]);
  assert.match(sample.after, /^action [01]: -?[\d.]+$/);
  for (const [wrong, message] of [
    [{ observation, action: 1 }, /has a number as `action` alone, where rows before it have `target`/],
    [{ observation, action: 0, target: 1, advantage: 1 }, /has `target` and also `advantage` or `return`/],
    [{ observation, action: 0, target: "much" }, /must have a number that float32 holds as `target`/],
    [{ observation, action: [0.5, 1], target: 1 }, /has a list as `action`, which can only be imitated/],
    [{ observation, action: 2, target: 1 }, /must have a whole number from 0 to 1 or a list of 2 numbers as `action`/],
  ] as const) {
    assert.match((await learn("wrong", ...rows, wrong)).err, message);
  }
  for (const [wrong, message] of [
    [{ return: 3 }, /`return` without `advantage`, which trains an output `value`/],
    [{ advantage: 1, return: 3, probability: 0 }, /must have a number from 0.000001 to 1 as `probability`/],
  ] as const) {
    assert.match((await learn("wrong", { observation, action: 1, ...wrong })).err, message);
  }
  const judged = { observation, action: 1, advantage: 1, return: 3 };
  const mixed = await learn("wrong", { ...judged, probability: 0.5 }, judged);
  assert.match(mixed.err, /:2: lacks `probability`, which rows before it have/);
});
