/** Task models over HTTP, by the Open Inference Protocol: every row's outputs as PyTorch computes them, and bad input refused. */

import assert from "node:assert/strict";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { post, scrape } from "../support/client.js";
import { openService, type RunningService } from "../support/service.js";
import {
  type NamedTensor,
  readExpectedTensors,
  relativeDifference,
  taskRoot,
  tensorJson,
} from "../support/task-models.js";

const tolerance = 2e-5;

interface InferAnswer {
  readonly model_name: string;
  readonly id?: string;
  readonly outputs: readonly NamedTensor[];
  readonly error?: string;
}

interface Metadata {
  readonly inputs: readonly { readonly name: string }[];
  readonly outputs: readonly { readonly name: string }[];
}

async function infer(url: string, model: string, body: object): Promise<{ status: number; answer: InferAnswer }> {
  const response = await post(url, `/v2/models/${model}/infer`, body);
  return { status: response.status, answer: JSON.parse(await response.text()) };
}

for (const model of ["bert-sequence-classification", "efficientnet", "yolos", "policy-mlp"]) {
  test(`${model} gives PyTorch's outputs for rows together and alone`, async () => {
    await using service = await openService({ model: join(taskRoot, model) });
    const expected = await readExpectedTensors(model);
    const metadata: Metadata = JSON.parse(await (await fetch(`${service.url}/v2/models/${model}`)).text());
    const names: string[] = metadata.inputs.map(({ name }) => name);
    const inputs = names.map((name) => tensorJson(name, expected.get(name) ?? assert.fail(name)));
    const { status, answer } = await infer(service.url, model, { id: "a", inputs });
    assert.equal(status, 200, answer.error);
    assert.deepEqual([answer.model_name, answer.id], [model, "a"]);
    assert.deepEqual(
      answer.outputs.map(({ name }) => name),
      metadata.outputs.map(({ name }) => name),
    );
    for (const output of answer.outputs) {
      assert.ok(relativeDifference(output, expected.get(output.name) ?? assert.fail()) <= tolerance, output.name);
    }
    const row = names.map((name) => tensorJson(name, expected.get(name) ?? assert.fail(name), 2));
    const alone = await infer(service.url, model, { inputs: row });
    for (const [index, output] of alone.answer.outputs.entries()) {
      const all = answer.outputs[index]?.data ?? [];
      const size = output.data.length;
      assert.deepEqual(output.data, all.slice(2 * size, 3 * size), `${output.name} has the same bits alone`);
    }
    await service.assertIdle();
  });
}

describe("a policy", () => {
  let service: RunningService;
  const observation = (shape: number[], data: unknown[], more: object = {}) => ({
    inputs: [{ name: "observation", shape, datatype: "FP32", data, ...more }],
  });
  before(async () => {
    service = await openService({ model: join(taskRoot, "policy-mlp"), maxSequences: "4" });
  });
  after(() => service[Symbol.asyncDispose]());

  test("is described, alive and ready", async () => {
    const get = async (path: string) => JSON.parse(await (await fetch(service.url + path)).text());
    assert.deepEqual(await get("/v2/health/live"), { live: true });
    assert.deepEqual(await get("/v2/health/ready"), { ready: true });
    assert.equal((await get("/v2")).name, "lorikeet");
    assert.deepEqual(await get("/v2/models/policy-mlp/ready"), { name: "policy-mlp", version: "1", ready: true });
    assert.deepEqual(await get("/v2/models/policy-mlp"), {
      name: "policy-mlp",
      versions: ["1"],
      platform: "onnx_onnxv1",
      inputs: [{ name: "observation", datatype: "FP32", shape: [-1, 4] }],
      outputs: [{ name: "q_values", datatype: "FP32", shape: [-1, 2] }],
    });
    const { data } = await get("/v1/models");
    assert.deepEqual(
      [data.length, data[0].id, data[0].max_model_len, data[0].tasks],
      [1, "policy-mlp", null, ["tensors"]],
    );
  });

  test("nested and flat data are the same tensor", async () => {
    const flat = await infer(service.url, "policy-mlp", observation([2, 4], [1, 2, 3, 4, 5, 6, 7, 8]));
    const nested = await infer(
      service.url,
      "policy-mlp",
      observation(
        [2, 4],
        [
          [1, 2, 3, 4],
          [5, 6, 7, 8],
        ],
      ),
    );
    assert.equal(flat.status, 200);
    assert.deepEqual(nested.answer, flat.answer);
    assert.deepEqual(flat.answer.outputs[0]?.shape, [2, 2]);
  });

  test("bad input is a 4xx that says what was found and what is allowed", async () => {
    const cases: [body: object, message: RegExp][] = [
      [{}, /`inputs` is required; found nothing/],
      [{ inputs: [] }, /`inputs` must be a list of 1 to 1024 tensors/],
      [{ inputs: [7] }, /`inputs\[0\]` must be a tensor: an object with name, shape, datatype and data; found 7/],
      [{ inputs: [{ name: "observation", shape: [1, 4], datatype: "FP32" }] }, /`inputs\[0\].data` is required/],
      [observation([1, 4], [1, 2, 3]), /`inputs\[0\].data` has 3 elements of data for the shape \[1, 4\]/],
      [observation([1, 4], [1, 2, 3, 4, 5]), /more than 4 elements/],
      [
        observation([1, 4], [[1], [2], [3], [4]]),
        /has a list of 4 at data, where a list of 1 belongs; a flat list of 4 elements, or lists nested as the shape \[1, 4\]/,
      ],
      [
        observation(
          [2, 4],
          [
            [1, 2, 3],
            [4, 5, 6, 7, 8],
          ],
        ),
        /has a list of 3 at data\[0\], where a list of 4 belongs/,
      ],
      [observation([2, 4], [[1, 2, 3, 4], 5, 6, 7, 8]), /has a list of 5 at data, where a list of 2 belongs/],
      [observation([2, 4], [[1, 2, 3, 4], 5]), /has an element at data\[1\], where a list of 4 belongs/],
      [observation([1, 4], [[1, 2, 3, [4]]]), /has a list at data\[0\]\[3\], where an element belongs/],
      [observation([1, 4], [1, 2, 3, "4"]), /an element at position 3 that is not of type FP32/],
      [observation([1, 4], [1, 2, 3, 1e39]), /an element at position 3 that is not of type FP32/],
      [
        observation([1, 5], [1, 2, 3, 4, 5]),
        /has the shape \[1, 5\] of "observation"; "observation", float32 \[batch_size, 4\] is allowed/,
      ],
      [observation([4], [1, 2, 3, 4]), /has the shape \[4\] of "observation"/],
      [observation([0, 4], []), /has 0 rows; 1 to 4 are allowed/],
      [observation([5, 4], new Array(20).fill(0)), /has 5 rows; 1 to 4 are allowed \(--max-sequences\)/],
      [
        observation([1, 4], [1, 2, 3, 4], { datatype: "INT64" }),
        /has the type int64 of "observation"; float32 is allowed/,
      ],
      [observation([1, 4], [1, 2, 3, 4], { datatype: "BYTES" }), /must be one of FP32/],
      [
        observation([1, 4], [1, 2, 3, 4], { name: "state" }),
        /lacks "observation".*has "state"; the model takes "observation"/,
      ],
      [
        { ...observation([1, 4], [1, 2, 3, 4]), outputs: [{ name: "logits" }] },
        /`outputs\[0\].name` is "logits"; q_values/,
      ],
    ];
    for (const [body, message] of cases) {
      const { status, answer } = await infer(service.url, "policy-mlp", body);
      assert.deepEqual([status, Object.keys(answer)], [400, ["error"]], JSON.stringify(answer));
      assert.match(answer.error ?? "", message);
    }
    const unknown = await infer(service.url, "policy", observation([1, 4], [1, 2, 3, 4]));
    assert.deepEqual(
      [unknown.status, unknown.answer.error],
      [404, "The model `policy` does not exist. This server has `policy-mlp`."],
    );
    await service.assertIdle();
  });

  test("requests are counted by outcome", async () => {
    const metrics = await scrape(service.url);
    const counted = (outcome: string): number | undefined =>
      metrics.get(`lorikeet_requests_total{adapter="policy-mlp",route="infer",outcome="${outcome}"}`);
    assert.ok((counted("completed") ?? 0) >= 2);
    assert.ok((counted("refused") ?? 0) >= 5);
    assert.equal(
      [...metrics.keys()].some((name) => name.startsWith("lorikeet_kv_slots")),
      false,
    );
  });

  test("routes of models that generate text are not there", async () => {
    assert.equal((await post(service.url, "/v1/completions", { prompt: "a" })).status, 404);
  });
});

test("token ids beyond the vocabulary, and a text beyond the positions, are refused alone", async () => {
  await using service = await openService({ model: join(taskRoot, "bert-sequence-classification") });
  const name = "bert-sequence-classification";
  const request = (ids: number[]) => ({
    inputs: ["input_ids", "attention_mask", "token_type_ids"].map((input, index) => ({
      ...{ name: input, shape: [1, ids.length], datatype: "INT64" },
      data: index === 0 ? ids : ids.map(() => (index === 1 ? 1 : 0)),
    })),
  });
  const good = request([2, 5, 6, 3]);
  const [found, bad, negative, long] = await Promise.all(
    [good, request([2, 5, 99_999, 3]), request([2, -1, 6, 3]), request(new Array(600).fill(5))].map((body) =>
      infer(service.url, name, body),
    ),
  );
  assert.equal(found?.status, 200);
  assert.match(bad?.answer.error ?? "", /has the id 99999 in "input_ids"; 0 to \d+ are allowed/);
  assert.match(negative?.answer.error ?? "", /has the id -1 in "input_ids"/);
  assert.equal(long?.status, 400, long?.answer.error);
  assert.match(long?.answer.error ?? "", /The input has 600 tokens; the model takes at most 48/);
  const empty = await infer(service.url, name, request([]));
  assert.deepEqual([empty.status, /has the size 0 as sequence_length/.test(empty.answer.error ?? "")], [400, true]);
  const uneven = request([2, 5, 6, 3]);
  uneven.inputs[1] = { name: "attention_mask", shape: [1, 3], datatype: "INT64", data: [1, 1, 1] };
  const refused = await infer(service.url, name, uneven);
  assert.match(refused.answer.error ?? "", /has 3 as sequence_length of "attention_mask", and 4 in "input_ids"/);
});

test("--max-context bounds the rows of a model whose files say no length, and lowers one that they say", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-lengths-"));
  try {
    const bare = join(folder, "bare.onnx");
    await copyFile("test/fixtures/tasks/bert-sequence-classification/onnx/model.onnx", bare);
    const lengths = ["test/fixtures/tasks/bert-sequence-classification", bare];
    await using service = await openService({ model: lengths, maxContext: "16", maxBatch: "1" });
    for (const model of ["bert-sequence-classification", "bare"]) {
      const inputs = (length: number) =>
        ["input_ids", "attention_mask", "token_type_ids"].map((input, index) => ({
          ...{ name: input, shape: [1, length], datatype: "INT64" },
          data: new Array(length).fill(index === 2 ? 0 : 1),
        }));
      assert.equal((await infer(service.url, model, { inputs: inputs(16) })).status, 200);
      const long = await infer(service.url, model, { inputs: inputs(17) });
      assert.match(long.answer.error ?? "", /The input has 17 tokens; the model takes at most 16/);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a bare .onnx file is served under its own name, with the README beside it as its card", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-bare-"));
  try {
    const model = join(folder, "actor.onnx");
    await copyFile(join(taskRoot, "policy-mlp", "onnx", "model.onnx"), model);
    await writeFile(join(folder, "README.md"), "Acts.\n");
    await using service = await openService({ model });
    const inputs = [{ name: "observation", shape: [1, 4], datatype: "FP32", data: [0, 0, 0, 0] }];
    assert.equal((await infer(service.url, "actor", { inputs })).status, 200);
    const card = Object(await (await fetch(`${service.url}/v1/models/actor/card`)).json());
    assert.deepEqual([card.object, card.readme], ["model.card", "Acts.\n"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("options of decoders, and several graphs without an encoder, are refused before the server listens", async () => {
  const model = join(taskRoot, "policy-mlp");
  const types = { headDtype: "int8", activationDtype: "fp16", kvCacheDtype: "fp16" };
  await assert.rejects(openService({ model, dtype: "int8", ...types }), {
    message:
      /--dtype int8 is for decoders.*--head-dtype int8 is for decoders.*--activation-dtype fp16 is .*--kv-cache-dtype fp16 is /,
  });
  const classifier = join(taskRoot, "bert-sequence-classification");
  const pooled = /--pooling mean is for models that give a vector for each token of a text \(last_hidden_state\); /;
  await assert.rejects(openService({ model, pooling: "mean" }), {
    message: RegExp(`^${pooled.source}this one has the outputs `),
  });
  await assert.rejects(openService({ model: classifier, pooling: "mean" }), {
    message: RegExp(`^${pooled.source}this one, for text-classification, has the outputs logits\\.$`),
  });
  await assert.rejects(openService({ model: [model, classifier].join("\n"), pooling: "mean" }), {
    message: RegExp(`^${pooled.source}none of the bases does\\.$`),
  });
  const translator = join(taskRoot, "marian");
  await assert.rejects(openService({ model: translator, dtype: "int8", device: "webgpu", pooling: "last" }), {
    message: /--dtype int8 is for decoders.* --pooling last is for .* --device webgpu does not run encoder-decoders/,
  });
  await assert.rejects(
    openService({ model, modelTrialTimeout: "1ms" }),
    /took more than 0.001 s \(--model-trial-timeout\)/,
  );
  const bare = await mkdtemp(join(tmpdir(), "lorikeet-decoder-"));
  try {
    const decoder = join(bare, "decoder_model_merged.onnx");
    await copyFile(join(translator, "onnx", "decoder_model_merged.onnx"), decoder);
    const graphs = [false, true].map((value) => `decoder_model_merged.onnx with use_cache_branch ${value}`);
    await assert.rejects(openService({ model: decoder }), {
      code: "model_unsupported",
      message: `The model has the task tensors and 2 graphs (${graphs.join(", ")}); models of one graph are served.`,
    });
  } finally {
    await rm(bare, { recursive: true });
  }
});
