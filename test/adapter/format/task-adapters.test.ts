/** Adapters of task models: what PEFT writes for them is accepted, and everything else is refused with what was found and what is allowed. */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { checkAdapter, describeAdapter, loadTaskAdapter } from "../../../src/adapter/format.js";
import type { HostTaskModule } from "../../../src/adapter/types.js";
import { AdapterWorker } from "../../../src/adapter/worker/worker.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { type TaskTarget, taskTargetsOf } from "../../../src/model/task/adapter-targets.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import { SafetensorsFile } from "../../../src/tensor/safetensors.js";
import { taskModels, taskRoot } from "../../support/task-models.js";
import {
  type Edit,
  type EditableTensor,
  edited,
  halves,
  narrowed,
  readTensors,
  refusalOf,
  renamed,
} from "./helpers.js";

const bases = new Map<string, TaskTarget[]>();
for (const model of taskModels) {
  bases.set(model, taskTargetsOf((await openTaskModel(join(taskRoot, model))).modules));
}
const targetsOf = (model: string): TaskTarget[] => bases.get(model) as TaskTarget[];
const adapterOf = (model: string, name: string): string => join(taskRoot, model, "adapters", name);

function arraysOf({ a, b, magnitude, addedBias, bias, whole, tokens }: HostTaskModule): Float32Array[] {
  const all = [a, b, magnitude, addedBias, bias, whole?.weight, whole?.bias, tokens?.rows];
  return all.flatMap((array) => (array ? [array] : []));
}

for (const model of taskModels) {
  test(`every adapter of ${model} is accepted, warns only of labels without names, and is read into one block of memory`, async () => {
    for (const name of readdirSync(join(taskRoot, model, "adapters"))) {
      const folder = adapterOf(model, name);
      const { summary } = await describeAdapter(folder, { targets: targetsOf(model) });
      const unnamed = /^four-labels/.test(name) ? [/head of 4 labels without their names/] : [];
      assert.equal(summary.warnings.length, unnamed.length, name);
      for (const [i, warning] of unnamed.entries()) assert.match(summary.warnings[i] ?? "", warning);
      const adapter = await loadTaskAdapter(folder, targetsOf(model), { expectedDigest: summary.weightsDigest });
      const arrays = [...adapter.modules.values()].flatMap(arraysOf);
      assert.deepEqual(new Set(arrays.map(({ buffer }) => buffer.byteLength)), new Set([summary.bytes]), name);
      assert.equal(
        arrays.reduce((sum, { byteLength }) => sum + byteLength, 0),
        summary.bytes,
        name,
      );
      assert.equal(adapter.modules.size, summary.modules, name);
      assert.equal((await describeAdapter(folder, null)).summary.weightsDigest, summary.weightsDigest, name);
    }
  });
}

const values = async (folder: string, end: string): Promise<Float32Array> => {
  const tensor = (await readTensors(join(folder, "adapter_model.safetensors"))).find(({ name }) => name.endsWith(end));
  assert.ok(tensor, end);
  return new Float32Array(Uint8Array.from(tensor.data).buffer);
};

test("a grouped convolution's B reads its own group's ranks, and has the scale in it", async () => {
  const folder = adapterOf("efficientnet", "all-r4-rslora");
  const { modules } = await loadTaskAdapter(folder, targetsOf("efficientnet"));
  const module = modules.get("blocks.0.0.conv_dw");
  const stored = await values(folder, "blocks.0.0.conv_dw.lora_B.weight"); // [8, 1, 1, 1], 8 groups
  const scale = 8 / Math.sqrt(8);
  const expected = Array.from({ length: 64 }, (_, i) =>
    Math.floor(i / 8) === i % 8 ? Math.fround((stored[i % 8] ?? 0) * scale) : 0,
  );
  assert.deepEqual([...(module?.b ?? [])], expected);
  assert.deepEqual(module?.a, await values(folder, "blocks.0.0.conv_dw.lora_A.weight"));
});

test("a table's A and B are transposed, and a convolution's magnitudes have one axis", async () => {
  const words = adapterOf("bert-embeddings", "word-embeddings");
  const table = (await loadTaskAdapter(words, targetsOf("bert-embeddings"))).modules.get("embeddings.word_embeddings");
  const a = await values(words, "word_embeddings.lora_embedding_A"); // [4, 200]
  assert.deepEqual([table?.rank, table?.a?.[4 * 7 + 2]], [4, a[2 * 200 + 7]]);
  const dora = adapterOf("resnet", "dora");
  const { modules } = await loadTaskAdapter(dora, targetsOf("resnet"));
  const path = "resnet.embedder.embedder.convolution";
  assert.deepEqual(modules.get(path)?.magnitude, await values(dora, `${path}.lora_magnitude_vector`));
});

test("a head is read whole, with its own number of outputs, and named by labels.json", async () => {
  const source = adapterOf("bert-sequence-classification", "four-labels");
  const targets = targetsOf("bert-sequence-classification");
  const named = await edited({ source, files: { "labels.json": '["a", "b", "c", "d"]' } });
  const adapter = await loadTaskAdapter(named, targets);
  const head = adapter.modules.get("classifier");
  assert.deepEqual(adapter.labels, ["a", "b", "c", "d"]);
  assert.deepEqual([head?.rank, head?.whole?.outFeatures, head?.whole?.bias?.length], [0, 4, 4]);
  assert.deepEqual(head?.whole?.weight, await values(source, "classifier.weight"));
  const config = JSON.stringify({ id2label: { "1": "b", "0": "a", "2": "c", "3": "d" }, hidden_size: 32 });
  const inConfig = await describeAdapter(await edited({ source, files: { "config.json": config } }), { targets });
  assert.deepEqual(inConfig.labels, ["a", "b", "c", "d"]);
  const plain = await describeAdapter(source, { targets });
  const digests = new Set([inConfig, plain, await describeAdapter(named, { targets })].map((each) => each.summary));
  assert.equal(new Set([...digests].map(({ weightsDigest }) => weightsDigest)).size, 2);
  assert.equal(new Set([...digests].map(({ digest }) => digest)).size, 3);
});

test("16-bit tensors are widened, in a worker's thread as well", async () => {
  await using worker = { threads: new AdapterWorker(), [Symbol.asyncDispose]: () => worker.threads.close() };
  for (const half of halves) {
    for (const [model, name] of [
      ["efficientnet", "all-r4-rslora"],
      ["bert-sequence-classification", "dora"],
    ] as const) {
      const folder = await edited({ source: adapterOf(model, name), tensors: narrowed(half) });
      const { summary } = await worker.threads.check(folder, { targets: targetsOf(model) });
      const adapter = await worker.threads.loadTask(folder, targetsOf(model));
      assert.deepEqual([adapter.digest, adapter.bytes], [summary.weightsDigest, summary.bytes]);
      assert.deepEqual(adapter.modules, (await loadTaskAdapter(folder, targetsOf(model))).modules);
    }
  }
});

test("names of transformers 5 and of a file's own export mean the same modules", async () => {
  const source = adapterOf("yolos", "attn-r8");
  const present = (name: string): string =>
    name
      .replace("encoder.layer.", "layers.")
      .replace("attention.attention.query", "attention.q_proj")
      .replace("attention.attention.value", "attention.v_proj");
  const config = { target_modules: ["q_proj", "v_proj"] };
  const folder = await edited({ source, config, tensors: renamed(present) });
  const { summary } = await describeAdapter(folder, { targets: targetsOf("yolos") });
  assert.deepEqual([summary.modules, summary.warnings], [4, []]);
  assert.equal(
    summary.weightsDigest,
    (await describeAdapter(source, { targets: targetsOf("yolos") })).summary.weightsDigest,
  );
});

const zeros = (name: string, shape: readonly number[], value = 0): EditableTensor => {
  const data = new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(value);
  return { name: `base_model.model.${name}`, dtype: "F32", shape, data: new Uint8Array(data.buffer) };
};
const put =
  (...added: readonly EditableTensor[]) =>
  (all: EditableTensor[]): EditableTensor[] => [
    ...all.filter(({ name }) => added.every((each) => each.name !== name)),
    ...added,
  ];
const drop = (end: string) => (all: EditableTensor[]) => all.filter(({ name }) => !name.endsWith(end));

const query = "bert.encoder.layer.0.attention.self.query";

test("a trained bias is the same in the spelling of every release of PEFT", async () => {
  const source = adapterOf("bert-sequence-classification", "biases");
  const targets = targetsOf("bert-sequence-classification");
  const digestOf = async (folder: string) => (await describeAdapter(folder, { targets })).summary.weightsDigest;
  const former = await edited({ source, tensors: renamed((name) => name.replace(".base_layer.bias", ".bias")) });
  const state = await edited({
    source,
    tensors: renamed((name) => name.replace(/(classifier)\./, "$1.modules_to_save.default.")),
  });
  const [own, ...others] = [await digestOf(source), await digestOf(former), await digestOf(state)];
  assert.deepEqual(others, [own, own]);
});

test("the biases that PEFT adds for a module saved whole change nothing", async () => {
  const source = adapterOf("bert-sequence-classification", "biases");
  const targets = targetsOf("bert-sequence-classification");
  const [bias] = (await readTensors(join(source, "adapter_model.safetensors"))).filter(({ name }) =>
    /classifier\.bias/.test(name),
  );
  assert.ok(bias);
  const named = (name: string): EditableTensor => ({ ...bias, name: `base_model.model.classifier.${name}` });
  const all = put(named("modules_to_save.bias"), zeros("classifier.original_module.bias", [3]));
  const folder = await edited({ source, config: { bias: "all" }, tensors: all });
  const { summary } = await describeAdapter(folder, { targets });
  assert.equal(summary.weightsDigest, (await describeAdapter(source, { targets })).summary.weightsDigest);
  const differing = await edited({ source, tensors: put(zeros("classifier.modules_to_save.bias", [3], 9)) });
  const fault = await refusalOf(describeAdapter(differing, { targets }));
  assert.match(
    fault.message,
    /classifier\.bias" and ".*classifier\.modules_to_save\.bias" are one bias, but they differ/,
  );
});

test("trained biases and lora_bias are read, with the scale in the latter", async () => {
  const source = adapterOf("bert-sequence-classification", "attn-r8");
  const targets = targetsOf("bert-sequence-classification");
  const own = await edited({ source, config: { bias: "lora_only" }, tensors: put(zeros(`${query}.bias`, [32], 3)) });
  const { modules } = await loadTaskAdapter(own, targets);
  assert.deepEqual([modules.get(query)?.bias?.[31], modules.get(query)?.rank], [3, 8]);
  const added = await edited({
    source,
    config: { lora_bias: true },
    tensors: put(zeros(`${query}.lora_B.bias`, [32], 3)),
  });
  const loaded = await loadTaskAdapter(added, targets);
  assert.equal(loaded.modules.get(query)?.addedBias?.[31], 6); // alpha 16, rank 8
  const { summary } = await describeAdapter(added, { targets });
  assert.notEqual(summary.weightsDigest, (await describeAdapter(source, { targets })).summary.weightsDigest);
});

test("a bias that equals the checkpoint's changes nothing where the ONNX file lacks its layer", async () => {
  const source = adapterOf("bert-embeddings", "attn-r8");
  const targets = targetsOf("bert-embeddings");
  await using checkpoint = await SafetensorsFile.open(join(taskRoot, "bert-embeddings", "model.safetensors"));
  const name = "pooler.dense.bias";
  const bias = { ...zeros(name, [32]), data: await checkpoint.read(name) };
  const folder = await edited({ source, config: { bias: "all" }, tensors: put(bias) });
  const own = await loadTaskAdapter(source, targets);
  const { modules, digest } = await loadTaskAdapter(folder, targets);
  assert.deepEqual([...modules.keys()], [...own.modules.keys()]);
  assert.notEqual(digest, own.digest);
});

test("modules that the config names and the file lacks are a warning, in the base's names", async () => {
  const source = adapterOf("resnet", "dora");
  const folder = await edited({
    source,
    tensors: (all) => all.filter(({ name }) => !/stages\.3.*shortcut|classifier/.test(name)),
  });
  const { summary } = await describeAdapter(folder, { targets: targetsOf("resnet") });
  assert.deepEqual(summary.warnings, [
    'The config names 1 module that the file lacks, which stays as in the base: "resnet.encoder.stages.3.layers.0.shortcut.convolution".',
    'modules_to_save names what the file lacks, which stays as in the base: "classifier".',
  ]);
});

const stem = "resnet.embedder.embedder.convolution";
const depthwise = "blocks.0.0.conv_dw";
const words = "embeddings.word_embeddings";
const [seq, emb, res, eff] = ["bert-sequence-classification", "bert-embeddings", "resnet", "efficientnet"] as const;

/** Model, adapter, edit, and the one fault expected. */
const hostile: readonly (readonly [string, string, string, Edit, RegExp])[] = [
  [
    "a kernel that differs",
    ...([res, "convs-r8"] as const),
    {
      config: { target_modules: ["convolution"] },
      tensors: put(zeros(`${stem}.lora_A.weight`, [8, 3, 3, 3], 1), zeros(`${stem}.lora_B.weight`, [12, 8, 1, 1], 1)),
    },
    /embedder\.convolution has a kernel of 7x7 in the base, but 3x3 in lora_A/,
  ],
  [
    "inputs of a convolution that differ",
    ...([res, "convs-r8"] as const),
    {
      config: { target_modules: ["convolution"] },
      tensors: put(zeros(`${stem}.lora_A.weight`, [8, 4, 7, 7], 1), zeros(`${stem}.lora_B.weight`, [12, 8, 1, 1], 1)),
    },
    /takes 3 inputs in the base, but 4 in lora_A/,
  ],
  [
    "a convolution's A without its kernel",
    ...([res, "convs-r8"] as const),
    {
      config: { target_modules: ["convolution"] },
      tensors: put(zeros(`${stem}.lora_A.weight`, [8, 147], 1), zeros(`${stem}.lora_B.weight`, [12, 8, 1, 1], 1)),
    },
    /has shape \[8, 147\]; four axes are allowed/,
  ],
  [
    "a kernel in B",
    ...([res, "convs-r8"] as const),
    {
      config: { target_modules: ["convolution"] },
      tensors: put(zeros(`${stem}.lora_A.weight`, [8, 3, 7, 7], 1), zeros(`${stem}.lora_B.weight`, [12, 8, 3, 3], 1)),
    },
    /has a kernel of 3x3 in lora_B; a kernel of 1 is allowed/,
  ],
  [
    "a linear layer's A with a kernel",
    ...([seq, "attn-r8"] as const),
    { tensors: put(zeros(`${query}.lora_A.weight`, [8, 32, 1, 1], 1)) },
    /has shape \[8, 32, 1, 1\]; two axes are allowed/,
  ],
  [
    "ranks that groups do not divide",
    ...([eff, "all-r4-rslora"] as const),
    {
      tensors: put(
        zeros(`${depthwise}.lora_A.weight`, [6, 8, 3, 3], 1),
        zeros(`${depthwise}.lora_B.weight`, [8, 1, 1, 1], 1),
      ),
    },
    /conv_dw has 8 groups and rank 6 in lora_A, but rank 1 for each group in lora_B/,
  ],
  [
    "DoRA on groups",
    ...([eff, "dora"] as const),
    {
      config: { target_modules: ["conv_pw", "conv_pwl", "classifier", "conv_dw"] },
      tensors: put(
        zeros(`${depthwise}.lora_A.weight`, [8, 8, 3, 3], 1),
        zeros(`${depthwise}.lora_B.weight`, [8, 1, 1, 1], 1),
        zeros(`${depthwise}.lora_magnitude_vector`, [1, 8, 1, 1], 1),
      ),
    },
    /conv_dw has 8 groups, and DoRA is only defined for one/,
  ],
  [
    "a convolution's magnitudes along another axis",
    ...([res, "dora"] as const),
    { tensors: put(zeros(`${stem}.lora_magnitude_vector`, [12, 1, 1, 1], 1)) },
    /lora_magnitude_vector" has shape \[12, 1, 1, 1\]; four axes are allowed|one for each of its 12 outputs is allowed/,
  ],
  [
    "fewer magnitudes than outputs",
    ...([res, "dora"] as const),
    { tensors: put(zeros(`${stem}.lora_magnitude_vector`, [1, 5, 1, 1], 1)) },
    /has 5 magnitudes; one for each of its 12 outputs is allowed/,
  ],
  [
    "DoRA on a table",
    ...([emb, "word-embeddings"] as const),
    { config: { use_dora: true } },
    /word_embeddings is a table, on which DoRA is not supported; train it with LoRA/,
  ],
  [
    "a table of another vocabulary",
    ...([emb, "word-embeddings"] as const),
    { tensors: put(zeros(`${words}.lora_embedding_A`, [4, 201], 1)) },
    /word_embeddings has 200 rows in the base, but 201 in lora_A/,
  ],
  [
    "half of a table",
    ...([emb, "word-embeddings"] as const),
    { tensors: drop("word_embeddings.lora_embedding_B") },
    /word_embeddings has lora_A but no lora_B/,
  ],
  [
    "a linear layer adapted as a table",
    ...([emb, "word-embeddings"] as const),
    { tensors: renamed((name) => name.replace("word_embeddings.", "layer.0.attention.self.key.")) },
    /matches no table of the base/,
  ],
  [
    "a module that the base lacks",
    ...([res, "convs-r8"] as const),
    { tensors: put(zeros("resnet.neck.convolution.lora_A.weight", [8, 4, 1, 1], 1)) },
    /neck\.convolution\.lora_A\.weight" matches no linear layer or convolution of the base/,
  ],
  [
    "a path that several modules share",
    ...([seq, "attn-r8"] as const),
    { tensors: put(zeros("query.lora_A.weight", [8, 32], 1)) },
    /"base_model\.model\.query\.lora_A\.weight" may mean each of .*layer\.0.*layer\.1.*; a path of one target module is allowed/,
  ],
  [
    "a head of other inputs",
    ...([seq, "four-labels"] as const),
    { tensors: put(zeros("classifier.weight", [4, 31])) },
    /classifier\.weight" has shape \[4, 31\]; \[4, 32\] is allowed for classifier/,
  ],
  [
    "a head without its bias",
    ...([seq, "four-labels"] as const),
    { tensors: drop("classifier.bias") },
    /module classifier is saved whole without its bias, which it has in the base/,
  ],
  [
    "a head without outputs",
    ...([seq, "four-labels"] as const),
    { tensors: put(zeros("classifier.weight", [0, 32]), zeros("classifier.bias", [0])) },
    /classifier\.weight" has shape \[0, 32\]; sizes of at least 1 are allowed/,
  ],
  [
    "lora_bias with DoRA",
    ...([seq, "dora"] as const),
    { tensors: put(zeros(`${query}.lora_B.bias`, [32], 1)) },
    /self\.query has a bias of lora_B \(lora_bias\), which PEFT does not allow with DoRA/,
  ],
  [
    "a bias of lora_B of another length",
    ...([seq, "attn-r8"] as const),
    { config: { lora_bias: true }, tensors: put(zeros(`${query}.lora_B.bias`, [31], 1)) },
    /self\.query has 31 biases in lora_B, but 32 outputs/,
  ],
  [
    "a head's bias alone",
    ...([seq, "four-labels"] as const),
    { tensors: drop("classifier.weight") },
    /module classifier is saved whole, but its weight is missing/,
  ],
  [
    "a bias of another length than the head's",
    ...([seq, "four-labels"] as const),
    { tensors: put(zeros("classifier.bias", [3])) },
    /classifier\.bias" has shape \[3\]; \[4\] is allowed/,
  ],
  [
    "an inner layer saved with other outputs",
    ...([seq, "four-labels"] as const),
    {
      config: { modules_to_save: ["pooler.dense"] },
      tensors: put(zeros("bert.pooler.dense.weight", [16, 32]), zeros("bert.pooler.dense.bias", [16])),
    },
    /pooler\.dense gives 32 outputs in the base, but 16 in the file; only a module whose outputs are the model's own/,
  ],
  [
    "a module adapted and saved whole",
    ...([seq, "attn-r8"] as const),
    {
      config: { modules_to_save: ["layer.0.attention.self.query"] },
      tensors: put(zeros(`${query}.weight`, [32, 32]), zeros(`${query}.bias`, [32])),
    },
    /self\.query is both adapted by LoRA and saved whole/,
  ],
  [
    "a weight that nothing names",
    ...([seq, "attn-r8"] as const),
    { tensors: put(zeros("bert.pooler.dense.weight", [32, 32])) },
    /"base_model\.model\.bert\.pooler\.dense\.weight" is neither lora_A nor lora_B of a module/,
  ],
  [
    "a normalization saved without its bias",
    ...([seq, "attn-r8"] as const),
    { config: { modules_to_save: ["LayerNorm"] }, tensors: put(zeros("bert.embeddings.LayerNorm.weight", [32])) },
    /module bert\.embeddings\.LayerNorm is saved whole without its bias, which it has in the base/,
  ],
  [
    "a normalization of another size",
    ...([seq, "norms"] as const),
    {
      tensors: put(zeros("bert.embeddings.LayerNorm.weight", [31]), zeros("bert.embeddings.LayerNorm.bias", [31])),
    },
    /LayerNorm\.weight" has shape \[31\]; \[32\] is allowed for bert\.embeddings\.LayerNorm/,
  ],
  [
    "statistics of a module saved whole",
    ...([seq, "four-labels"] as const),
    { tensors: put(zeros("classifier.running_mean", [4])) },
    /classifier\.running_mean" is neither the weight nor the bias of a module saved whole \(modules_to_save\)/,
  ],
  [
    "a batch normalization saved whole",
    ...([res, "convs-r8"] as const),
    {
      config: { modules_to_save: ["embedder.normalization"] },
      tensors: put(
        zeros("resnet.embedder.embedder.normalization.weight", [12]),
        zeros("resnet.embedder.embedder.normalization.bias", [12]),
        zeros("resnet.embedder.embedder.normalization.running_mean", [12]),
      ),
    },
    /embedder\.normalization takes no weight of an adapter, only a bias: it is a batch normalization, which an adapter would bring with its statistics; take it out of modules_to_save/,
  ],
  [
    "a trained bias of a layer that neither file nor checkpoint has",
    ...([seq, "attn-r8"] as const),
    { config: { bias: "all" }, tensors: put(zeros("bert.embeddings.norm2.bias", [32])) },
    /norm2\.bias" is the trained bias of a layer that cannot be found in the base; put the model\.safetensors/,
  ],
  [
    "a trained bias of a layer that only the checkpoint has",
    ...([emb, "attn-r8"] as const),
    { config: { bias: "all" }, tensors: put(zeros("pooler.dense.bias", [32], 2)) },
    /differs from the base's, and module pooler\.dense cannot be found in the ONNX file.*; train with bias "lora_only"/,
  ],
  [
    "a trained bias of another length than the normalization's",
    ...([seq, "attn-r8"] as const),
    { config: { bias: "all" }, tensors: put(zeros("bert.embeddings.LayerNorm.bias", [31])) },
    /LayerNorm\.bias" has shape \[31\]; \[32\] is allowed/,
  ],
  [
    "a layer's bias that the config does not announce",
    ...([seq, "attn-r8"] as const),
    { tensors: put(zeros("bert.pooler.dense.bias", [32])) },
    /pooler\.dense\.bias" is the bias of a layer, but bias in the config is "none" or missing; set it to "lora_only" or "all"/,
  ],
  [
    "a target's bias that the config does not announce and the checkpoint lacks",
    ...([res, "convs-r8"] as const),
    { tensors: put(zeros("resnet.embedder.embedder.convolution.base_layer.bias", [12])) },
    /base_layer\.bias" is the bias of a layer, but bias in the config is "none" or missing/,
  ],
  [
    "a target's bias that the config does not announce and the base has otherwise",
    ...([seq, "attn-r8"] as const),
    { tensors: put(zeros(`${query}.base_layer.bias`, [32], 9)) },
    /base_layer\.bias" is a copy of the bias of the base that was trained on, but differs from the bias of this base/,
  ],
  [
    "LoRA on a normalization",
    ...([seq, "attn-r8"] as const),
    { tensors: put(zeros("bert.embeddings.LayerNorm.lora_A.weight", [8, 32])) },
    /LayerNorm\.lora_A\.weight" matches no linear layer or convolution/,
  ],
  [
    "a trained bias over a folded normalization",
    ...([res, "convs-r8"] as const),
    { config: { bias: "all" }, tensors: put(zeros(`${stem}.bias`, [12])) },
    /is the bias of resnet\.embedder\.embedder\.convolution, into which a batch normalization was folded/,
  ],
  [
    "labels of another number",
    ...([seq, "four-labels"] as const),
    { files: { "labels.json": '["a", "b", "c"]' } },
    /labels\.json names 3 labels, but the head has 4 outputs/,
  ],
  ...['{"a": 1}', "[", '["a", "a", "b", "c"]', '{"0": "a", "2": "b"}', '["", "b", "c", "d"]', "[]"].map(
    (text) =>
      [
        `labels ${text}`,
        ...([seq, "four-labels"] as const),
        { files: { "labels.json": text } },
        /labels\.json is not a list of names or an object of names by index; .* with distinct names of 1 to 1000 characters/,
      ] as const,
  ),
  [
    "infinity in a head",
    ...([seq, "four-labels"] as const),
    { tensors: put(zeros("classifier.bias", [4], Number.POSITIVE_INFINITY)) },
    /classifier\.bias" holds NaN or infinity/,
  ],
  [
    "a copy of another base's weight",
    ...([seq, "attn-r8"] as const),
    { tensors: put(zeros(`${query}.base_layer.weight`, [32, 32])) },
    /base_layer\.weight" is a copy of the weight of the base that was trained on, but differs from the weight of this base/,
  ],
  [
    "a module that the config does not name",
    ...([seq, "attn-r8"] as const),
    { config: { target_modules: ["query"] } },
    /the file holds 2 modules that the config does not name/,
  ],
];

for (const [what, model, adapter, edit, expected] of hostile) {
  test(`refuses ${what}`, async () => {
    const folder = await edited({ source: adapterOf(model, adapter), ...edit });
    const refused = await refusalOf(checkAdapter(folder, { targets: targetsOf(model) }));
    assert.match(refused.code, /^adapter_(invalid|unsupported)$/);
    assert.ok(
      refused.faults.some((fault) => expected.test(fault)),
      refused.faults.join("\n"),
    );
  });
}

test("LoRA on the table of encoder and decoder is taken where each looks it up, and refused elsewhere with the reason", async () => {
  const targets = taskTargetsOf((await openTaskModel("test/fixtures/seq2seq/t5")).modules);
  const source = "test/fixtures/seq2seq/t5/adapters/tables";
  const { summary, modules } = await describeAdapter(source, { targets });
  const tables = modules.filter(({ kind }) => kind === "table").map(({ path }) => path);
  assert.deepEqual([tables.sort(), summary.warnings], [["decoder.embed_tokens", "encoder.embed_tokens"], []]);

  const shared = (all: EditableTensor[]): EditableTensor[] =>
    all
      .filter(({ name }) => !name.includes("decoder.embed_tokens"))
      .map((each) => ({ ...each, name: each.name.replace("encoder.embed_tokens", "shared") }));
  const unused = await edited({ source, config: { target_modules: ["q", "shared"] }, tensors: shared });
  const refused = await refusalOf(checkAdapter(unused, { targets }));
  assert.equal(refused.code, "adapter_unsupported");
  assert.match(refused.faults.join("\n"), /^module shared changes nothing in PEFT: .*; train embed_tokens instead$/);

  const unnamed = targets
    .filter(({ path }) => path !== "decoder.embed_tokens")
    .map((each) => (each.path === "encoder.embed_tokens" ? { ...each, path: "shared", names: [] } : each));
  const { faults } = await refusalOf(checkAdapter(source, { targets: unnamed }));
  for (const side of ["encoder", "decoder"]) {
    const found = faults.filter((fault) => fault.startsWith(`module ${side}.embed_tokens cannot be told from other`));
    assert.equal(found.length, 1, faults.join("\n"));
  }
});

test("a convolution whose folded normalization is unknown refuses its adapters by name, once", async () => {
  const targets = targetsOf(res).map((target) => ({ ...target, foldedNorm: "unknown" as const }));
  const refused = await refusalOf(checkAdapter(adapterOf(res, "convs-r8"), { targets }));
  assert.equal(refused.code, "adapter_unsupported");
  assert.equal(refused.faults.length, 8);
  assert.match(
    refused.faults[0] ?? "",
    /^module resnet\..* may hold a folded batch normalization whose factor is unknown, so an adapter on it could be wrong; put/,
  );
});

test("a module that the ONNX file lacks is only warned of if its lora_B is zero, as PEFT leaves what no output depends on", async () => {
  const path = "bert.contact_head.regression";
  const targets = targetsOf("bert-sequence-classification");
  const adapted = (value: number) =>
    edited({
      source: adapterOf("bert-sequence-classification", "attn-r8"),
      tensors: put(zeros(`${path}.lora_A.weight`, [8, 12], 1), zeros(`${path}.lora_B.weight`, [1, 8], value)),
    });
  const folder = await adapted(0);
  const { summary } = await describeAdapter(folder, { targets });
  const { summary: plain } = await describeAdapter(adapterOf("bert-sequence-classification", "attn-r8"), { targets });
  assert.equal(summary.modules, plain.modules);
  assert.equal(summary.bytes, plain.bytes);
  assert.notEqual(summary.weightsDigest, plain.weightsDigest);
  assert.equal(summary.warnings.length, 1);
  assert.match(summary.warnings.join(" "), /lacks the module "bert\.contact_head\.regression", whose lora_B is zero/);
  const { modules } = await loadTaskAdapter(folder, targets, { expectedDigest: summary.weightsDigest });
  assert.deepEqual([modules.size, modules.has(path)], [plain.modules, false]);
  const refused = await refusalOf(checkAdapter(await adapted(1), { targets }));
  assert.match(refused.faults.join(" "), /regression\.lora_A\.weight" matches no linear layer or convolution/);
});

test("an adapter of another task model is one sentence with its first differences", async () => {
  const refused = await refusalOf(checkAdapter(adapterOf(res, "convs-r8"), { targets: targetsOf(eff) }));
  assert.match(refused.message, /^The adapter does not fit this base \(its config names "resnet"\): /);
});

const runs = { numRuns: Number(process.env.FUZZ_RUNS ?? 60), seed: Number(process.env.FUZZ_SEED ?? 1) };
const sources = [
  [seq, "all-r4-rslora"],
  [emb, "word-embeddings"],
  [res, "dora"],
  [eff, "all-r4-rslora"],
] as const;
const ends = ["lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector", "lora_embedding_A", "weight"];
const sizes = fc.array(fc.constantFrom(0, 1, 2, 3, 4, 8, 12, 32, 200), { maxLength: 6 });
const change = fc.record({
  at: fc.nat(1000),
  what: fc.oneof(
    fc.record({ end: fc.constantFrom(...ends, "bias", "base_layer.weight", "modules_to_save.default.weight") }),
    fc.record({ shape: sizes }),
    fc.record({ dtype: fc.constantFrom("F16", "BF16", "F32", "I64") }),
    fc.constant(null),
  ),
});
const setting = fc.dictionary(
  fc.constantFrom("target_modules", "modules_to_save", "bias", "use_dora", "lora_bias", "task_type", "peft_type", "r"),
  fc.constantFrom(null, true, "all", "all-linear", "SEQ_CLS", "ADALORA", ["convolution"], ["classifier", "query"], 3),
  { maxKeys: 2 },
);

type Change = Parameters<Parameters<typeof change.map>[0]>[0];

function changed(all: EditableTensor[], { at, what }: Change): EditableTensor[] {
  const place = at % all.length;
  const tensor = all[place];
  if (!tensor) return all;
  if (what === null) return all.toSpliced(place, 1);
  const next = { ...tensor, ...what };
  if ("end" in what) next.name = `${tensor.name.replace(/\.(lora_\w+(\.weight)?|weight|bias)$/, "")}.${what.end}`;
  const width = { F16: 2, BF16: 2, F32: 4, I64: 8 }[next.dtype as "F32"] ?? 4;
  const data = new Uint8Array(next.shape.reduce((product, size) => product * size, width));
  data.set(tensor.data.subarray(0, data.length));
  return all.toSpliced(place, 1, { ...next, data });
}

test("whatever a file and a config hold, the answer is an adapter or a list of faults", async () => {
  const property = fc.asyncProperty(
    fc.constantFrom(...sources),
    fc.array(change, { maxLength: 4 }),
    setting,
    async ([model, name], changes, config) => {
      const tensors = (all: EditableTensor[]) => {
        const found = changes.reduce(changed, all);
        return [...new Map(found.map((tensor) => [tensor.name, tensor])).values()];
      };
      const folder = await edited({ source: adapterOf(model, name), config, tensors });
      for (const base of [{ targets: targetsOf(model) }, null]) {
        const described = await describeAdapter(folder, base).catch((error: unknown) => error);
        if (described instanceof Error) {
          assert.ok(described instanceof LorikeetError, described.stack);
          assert.match(described.code, /^adapter_(invalid|unsupported)$/, described.stack);
          assert.ok(described.faults.length > 0);
        } else if (base) {
          const { bytes, modules } = await loadTaskAdapter(folder, base.targets);
          const arrays = [...modules.values()].flatMap(arraysOf);
          assert.ok(arrays.every((array) => array.every(Number.isFinite)));
          assert.equal(
            arrays.reduce((sum, { byteLength }) => sum + byteLength, 0),
            bytes,
          );
        }
      }
    },
  );
  await fc.assert(property, runs);
});
