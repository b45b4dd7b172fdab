/** Copies of the base's own weights in an adapter's file: equal ones are accepted, others refused. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { checkAdapter, describeAdapter, loadAdapter } from "../../../src/adapter/format.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { storedModules } from "../../../src/model/modules.js";
import { type EditableTensor, edited, halves, narrowed, oracle, readTensors, refusalOf } from "./helpers.js";

const source = "test/fixtures/adapter-format/lm-head";
const base = storedModules(await openCheckpoint(`${oracle}/llama`));
const weights = await readTensors(join(oracle, "llama", "model.safetensors"));
const copyName = "base_model.model.lm_head.base_layer.weight";

const copyOf = (name: string, as: string): EditableTensor => {
  const found = weights.find((tensor) => tensor.name === name);
  assert.ok(found);
  return { ...found, name: `base_model.model.${as}` };
};
const changed = (tensor: EditableTensor): EditableTensor => {
  const data = Uint8Array.from(tensor.data);
  new Float32Array(data.buffer)[320 * 64 - 1] = 7;
  return { ...tensor, data };
};

test("a head's copy that equals the base's changes nothing: digest, bytes and modules are those without it", async () => {
  const { summary } = await checkAdapter(source, base);
  assert.deepEqual([summary.modules, summary.warnings], [4, []]);
  const without = await edited({ source, tensors: (all) => all.filter(({ name }) => name !== copyName) });
  const plain = (await checkAdapter(without, base)).summary;
  assert.deepEqual([plain.weightsDigest, plain.bytes], [summary.weightsDigest, summary.bytes]);
  assert.equal((await describeAdapter(source, null)).summary.weightsDigest, plain.weightsDigest);
  assert.equal((await loadAdapter(source, base, { expectedDigest: plain.weightsDigest })).modules.size, 4);
});

test("copies rounded to 16 bits are equal to the base's in float32", async () => {
  for (const half of halves) {
    const folder = await edited({ source, tensors: narrowed(half) });
    assert.equal((await checkAdapter(folder, base)).summary.modules, 4);
  }
});

test("embeddings and heads that were saved whole and never changed are accepted", async () => {
  const saved = [
    copyOf("model.embed_tokens.weight", "model.embed_tokens.weight"),
    copyOf("lm_head.weight", "lm_head.weight"),
  ];
  const tensors = (all: EditableTensor[]) => [
    ...all.filter(({ name }) => name !== copyName && !name.includes("lm_head")),
    ...saved,
  ];
  const config = { target_modules: ["down_proj"] };
  const folder = await edited({ source, config, tensors });
  assert.equal((await checkAdapter(folder, base)).summary.modules, 3);
});

test("refuses a file that holds nothing but the base's own weights", async () => {
  for (const tensors of [
    (all: EditableTensor[]) => all.filter(({ name }) => name === copyName),
    () => [copyOf("model.embed_tokens.weight", "model.embed_tokens.weight")],
  ]) {
    const folder = await edited({ source, tensors });
    const { faults } = await refusalOf(checkAdapter(folder, base));
    assert.deepEqual(faults, ["the file holds only copies of the base's own weights, which change nothing"]);
  }
});

test("no warning that the file lacks a module to save whose weight equals the base's", async () => {
  const tensors = (all: EditableTensor[]) => [
    ...all.filter(({ name }) => !name.includes("lm_head")),
    copyOf("model.embed_tokens.weight", "model.embed_tokens.weight"),
  ];
  for (const [saved, warnings] of [
    [["model.embed_tokens"], []],
    [["lm_head"], ['modules_to_save names what the file lacks, which stays as in the base: "lm_head".']],
  ] as const) {
    const config = { target_modules: ["down_proj"], modules_to_save: saved };
    const { summary } = await checkAdapter(await edited({ source, config, tensors }), base);
    assert.deepEqual(summary.warnings, warnings);
  }
});

const put = (tensor: EditableTensor) => (all: EditableTensor[]) => [
  ...all.filter(({ name }) => name !== tensor.name && name !== copyName),
  tensor,
];

for (const [what, tensor, expected] of [
  [
    "a copy that differs in one number",
    changed(copyOf("lm_head.weight", "lm_head.base_layer.weight")),
    /^tensor ".*base_layer\.weight" is a copy .*, but differs from the weight of this base, so it was another base$/,
  ],
  [
    "a copy of another size",
    { name: copyName, dtype: "F32", shape: [1, 64], data: new Uint8Array(256) },
    /but has shape \[1, 64\] and the weight of this base \[320, 64\]/,
  ],
  [
    "trained embeddings that the config does not name",
    changed(copyOf("model.embed_tokens.weight", "model.embed_tokens.weight")),
    /embed_tokens\.weight" differs from the weight of this base; only embeddings and heads that modules_to_save names may$/,
  ],
  [
    "embeddings of a larger vocabulary",
    {
      name: "base_model.model.model.embed_tokens.weight",
      dtype: "F32",
      shape: [328, 64],
      data: new Uint8Array(4 * 328 * 64),
    },
    /embed_tokens\.weight" has shape \[328, 64\] and the weight of this base \[320, 64\]: it was trained over another/,
  ],
  [
    "a copy of a weight that is not a head or embedding",
    copyOf("model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.down_proj.base_layer.weight"),
    /^modules saved whole/,
  ],
] as const) {
  test(`refuses ${what}`, async () => {
    const refused = await refusalOf(checkAdapter(await edited({ source, tensors: put(tensor) }), base));
    assert.equal(refused.faults.length, 1, refused.faults.join("; "));
    assert.match(refused.faults[0] ?? "", expected);
  });
}

const biases = "test/fixtures/adapter-format/biases";
const gpt2 = storedModules(await openCheckpoint(`${oracle}/gpt2`));

test("biases of normalizations that equal the base's change nothing, and others move its outputs", async () => {
  const { summary } = await checkAdapter(biases, gpt2);
  assert.deepEqual([summary.modules, summary.warnings], [19, []]);
  assert.equal((await describeAdapter(biases, null)).summary.weightsDigest, summary.weightsDigest);
  const loaded = await loadAdapter(biases, gpt2, { expectedDigest: summary.weightsDigest });
  assert.deepEqual([loaded.bytes, loaded.modules.size], [summary.bytes, 12]);
  const moved = (all: EditableTensor[]) =>
    all.map((tensor) =>
      /ln_1\.bias$/.test(tensor.name) ? { ...tensor, data: new Uint8Array(tensor.data.length) } : tensor,
    );
  const other = await loadAdapter(await edited({ source: biases, tensors: moved }), gpt2);
  assert.deepEqual([loaded.changesNorms, other.changesNorms, other.modules.size], [undefined, true, 15]);
  assert.ok(other.modules.get("transformer.h.0.ln_1")?.shift?.some((value) => value !== 0));
});

test("normalizations saved whole have the base's shape and its bias; those of single heads are refused", async () => {
  const norms = "test/fixtures/adapter-format/norms";
  const gemma2 = storedModules(await openCheckpoint(`${oracle}/gemma2`));
  const { summary } = await checkAdapter(norms, gemma2);
  assert.equal((await describeAdapter(norms, null)).summary.weightsDigest, summary.weightsDigest);
  const loaded = await loadAdapter(norms, gemma2);
  assert.deepEqual([loaded.bytes, loaded.hasGains, loaded.changesNorms], [summary.bytes, false, true]);
  const shorter = (all: EditableTensor[]) =>
    all.map((tensor) =>
      tensor.name.endsWith("model.norm.weight") ? { ...tensor, shape: [8], data: new Uint8Array(32) } : tensor,
    );
  const short = await refusalOf(checkAdapter(await edited({ source: norms, tensors: shorter }), gemma2));
  assert.match(short.message, /model\.norm\.weight" has shape \[8\]; \[64\] is allowed for model\.norm/);
  const gpt2Norm = { name: "base_model.model.transformer.ln_f.weight", dtype: "F32", shape: [64] } as const;
  const without = await edited({
    source: biases,
    config: { modules_to_save: ["ln_f"] },
    tensors: (all) => [...all.filter(({ name }) => !name.includes("ln_f")), { ...gpt2Norm, data: new Uint8Array(256) }],
  });
  assert.match((await refusalOf(checkAdapter(without, gpt2))).message, /ln_f is saved whole without its bias/);
  const gemma3 = storedModules(await openCheckpoint(`${oracle}/gemma3_text`));
  const ofHeads = await edited({
    source: `${oracle}/gemma3_text/adapters/attn-r8`,
    config: { modules_to_save: ["q_norm"] },
    tensors: (all) => [
      ...all,
      { ...gpt2Norm, name: "base_model.model.model.layers.0.self_attn.q_norm.weight", data: new Uint8Array(256) },
    ],
  });
  assert.match(
    (await refusalOf(checkAdapter(ofHeads, gemma3))).message,
    /^The adapter was refused for 1 fault: modules saved whole .* normalizations of its layers and .*q_norm/,
  );
});

test("a bias of a layer that has none in the base is refused", async () => {
  const bias = {
    name: "base_model.model.model.layers.0.mlp.down_proj.base_layer.bias",
    dtype: "F32",
    shape: [64],
  } as const;
  const tensors = (all: EditableTensor[]) => [...all, { ...bias, data: new Uint8Array(256) }];
  const { message } = await refusalOf(checkAdapter(await edited({ source, config: { bias: "all" }, tensors }), base));
  assert.match(
    message,
    /down_proj\.base_layer\.bias" is the bias of model\.layers\.0\.mlp\.down_proj, which has none in the base/,
  );
});
