/** ONNX files of both exporters, read and written again, against what PyTorch computed with the models. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseBranch, flagsOf } from "../../src/graph/branches.js";
import type { Graph } from "../../src/graph/types.js";
import { Tensor } from "../../src/runtime/tensor.js";
import {
  onnxFilesOf,
  openGraph,
  readExpectedTensors,
  relativeError,
  runGraph,
  taskModels,
  taskRoot,
} from "../support/task-models.js";

const tolerance = 2e-5;

for (const model of taskModels.filter((name) => name !== "marian")) {
  for (const path of onnxFilesOf(model)) {
    test(`${path.slice(taskRoot.length + 1)} gives PyTorch's outputs after it is read and written again`, async () => {
      const graph = await openGraph(path);
      assert.ok(graph.nodes.every(({ op }) => op !== "Constant"));
      const expected = await readExpectedTensors(model);
      const outputs = await runGraph(graph, expected);
      assert.ok(outputs.size > 0);
      for (const [name, output] of outputs) {
        const wanted = expected.get(name);
        assert.ok(wanted, `${name} has an expected value`);
        assert.ok(relativeError(output, wanted.data as Float32Array) <= tolerance, name);
      }
    });
  }
}

test("a merged decoder becomes two graphs over one set of weights, and both give PyTorch's logits", async () => {
  const expected = await readExpectedTensors("marian");
  const [encoder, merged] = await Promise.all(
    ["encoder_model", "decoder_model_merged"].map((name) => openGraph(`${taskRoot}/marian/onnx/${name}.onnx`)),
  );
  assert.ok(encoder && merged);
  assert.deepEqual(flagsOf(encoder), []);
  assert.deepEqual(flagsOf(merged), ["use_cache_branch"]);
  const [first, later] = [false, true].map((value) => chooseBranch(merged, "use_cache_branch", value)) as [
    Graph,
    Graph,
  ];
  for (const graph of [first, later]) assert.ok(!graph.nodes.some(({ op }) => op === "If"));
  assert.ok(!first.inputs.some(({ name }) => name.startsWith("past_key_values")));
  const shared = first.initializers.filter((item) => later.initializers.includes(item));
  assert.ok(shared.some(({ value }) => value.name.startsWith("onnx::MatMul")));

  const states = (await runGraph(encoder, expected)).values().next().value as Tensor;
  const wanted = expected.get("encoder_last_hidden_state")?.data as Float32Array;
  assert.ok(relativeError(states, wanted) <= tolerance);

  const all = expected.get("greedy_ids")?.data as BigInt64Array; // [4, 17]
  const ids = (from: number, to: number): Tensor =>
    Tensor.from(
      "int64",
      [4, to - from],
      BigInt64Array.from([0, 1, 2, 3].flatMap((row) => [...all.slice(row * 17 + from, row * 17 + to)])),
    );
  const given = new Map([
    ["encoder_hidden_states", states],
    ["encoder_attention_mask", expected.get("attention_mask") as Tensor],
  ]);
  const logits = expected.get("logits")?.data as Float32Array; // [4, 16, 200]
  const whole = await runGraph(first, new Map([...given, ["input_ids", ids(0, 16)]]));
  assert.ok(relativeError(whole.get("logits"), logits) <= tolerance);

  const prefix = await runGraph(first, new Map([...given, ["input_ids", ids(0, 15)]]));
  const past = [...prefix].map(([name, tensor]) => [name.replace("present", "past_key_values"), tensor] as const);
  const step = await runGraph(later, new Map([...given, ...past, ["input_ids", ids(15, 16)]]));
  const last = Float32Array.from(
    [0, 1, 2, 3].flatMap((row) => [...logits.slice((row * 16 + 15) * 200, (row + 1) * 16 * 200)]),
  );
  assert.ok(relativeError(step.get("logits"), last) <= tolerance);
});
