import assert from "node:assert/strict";
import { mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { checkAdapter, describeAdapter, loadAdapter } from "../../../src/adapter/format.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { baseModules } from "../../../src/model/modules.js";
import { type Edit, type EditableTensor, edited, modulesOf, oracle, refusalOf, renamed, valid } from "./helpers.js";

const llama = await modulesOf(`${oracle}/llama`);

function put(name: string, shape: readonly number[]) {
  const data = new Uint8Array(shape.reduce((product, size) => product * size, 4));
  return (all: EditableTensor[]): EditableTensor[] => [...all, { name, dtype: "F32", shape, data }];
}

const q = "base_model.model.model.layers.0.self_attn.q_proj";
const drop = (part: string) => (all: EditableTensor[]) => all.filter(({ name }) => !name.includes(part));
const poison = (value: number) => (all: EditableTensor[]) => {
  const tensor = all.find(({ name }) => name === `${q}.lora_B.weight`);
  if (tensor) new Float32Array(tensor.data.buffer as ArrayBuffer)[7] = value;
  return all;
};
const scaled = (factor: number) => (all: EditableTensor[]) => {
  for (const { data } of all) for (const [i, value] of view(data).entries()) view(data)[i] = value * factor;
  return all;
};
const view = (data: Uint8Array): Float32Array => new Float32Array(data.buffer as ArrayBuffer);
const reshape = (part: string, shape: readonly number[]) => (all: EditableTensor[]) =>
  all.map((tensor) =>
    tensor.name === `${q}.${part}.weight`
      ? { ...tensor, shape, data: new Uint8Array(shape.reduce((product, size) => product * size, 4)) }
      : tensor,
  );

const invalid: [string, Edit, RegExp | readonly RegExp[]][] = [
  ["no config", { config: null }, /^adapter_config\.json is missing$/],
  ["a config that is not JSON", { config: "{" }, /^adapter_config\.json is not JSON/],
  ["a config that is a list", { config: "[]" }, /is not a JSON object/],
  ["a config nested deeply", { config: `{"a":${"[".repeat(9999)}` }, /nests deeper than 16 levels/],
  ["a config with a key twice", { config: '{"r":8,"peft_type":"LORA","r":4}' }, /duplicate keys: "r"/],
  ["a config too long", { config: `{"a":"${"x".repeat(2 ** 20)}"}` }, /longer than 1048576 bytes/],
  ["no peft_type", { config: '{"r":8}' }, /peft_type null; "LORA" and "ADALORA" are allowed/],
  [
    "an infinite lora_alpha",
    { config: '{"peft_type":"LORA","lora_alpha":1e400}' },
    /^lora_alpha is infinite \(a number beyond 1\.8e308\); a/,
  ],
  ["peft_type in lower case", { config: { peft_type: "lora" } }, /peft_type "lora"; write it as PEFT does, "LORA"$/],
  [
    "fields of wrong types",
    { config: { r: "8", lora_alpha: null, use_rslora: 1, rank_pattern: { a: 0.5 }, alpha_pattern: [] } },
    [
      /^r is "8"; a positive whole number/,
      /^use_rslora is 1; true or false/,
      /^rank_pattern\["a"\] is 0\.5/,
      /^alpha_pattern is \[\]; an object/,
    ],
  ],
  ["r of zero", { config: { r: 0 } }, /^r is 0; a positive whole number is allowed$/],
  ...[0, -16, 1e30].map((alpha): [string, Edit, RegExp] => [
    `a lora_alpha of ${alpha}`,
    { config: { lora_alpha: alpha } },
    new RegExp(`^lora_alpha is ${String(alpha).replace("+", "\\+")}; a number above 0, up to 1000000, is allowed$`),
  ]),
  [
    "an alpha_pattern of 0",
    { config: { alpha_pattern: { q_proj: 0 } } },
    /^alpha_pattern\["q_proj"\] is 0; a number above 0, up to 1000000, is allowed$/,
  ],
  [
    "an alpha that is no number of JSON",
    { config: '{"peft_type": "LORA", "lora_alpha": NaN}' },
    /^adapter_config\.json is not JSON: it holds NaN, and only finite numbers are allowed$/,
  ],
  [
    "products past float32",
    { tensors: scaled(1e22) },
    Array(6).fill(
      /^the products of module .* overflow float32: values up to .* in lora_A meet values up to .* in lora_B/,
    ),
  ],
  [
    "DoRA by config alone",
    { config: { use_dora: true } },
    Array(6).fill(/has no lora_magnitude_vector, though use_dora is set$/),
  ],
  ["no tensors", { tensors: () => [] }, /^the file holds no tensors$/],
  [
    "a tensor of no module",
    { tensors: put("foo.bar", [1]) },
    /^tensor "foo\.bar" is neither lora_A nor lora_B of a module$/,
  ],
  [
    "a module that the base has not",
    { tensors: renamed((name) => name.replace("layers.2.self_attn.q", "layers.9.self_attn.q")) },
    [
      /layers\.9\.self_attn\.q_proj\.lora_A\.weight" matches no linear layer of the base$/,
      /lora_B\.weight" matches no/,
    ],
  ],
  [
    "lora_A without lora_B",
    { tensors: drop("layers.0.self_attn.q_proj.lora_B") },
    /^module model\.layers\.0\.self_attn\.q_proj has lora_A but no lora_B$/,
  ],
  ["lora_B without lora_A", { tensors: drop("layers.0.self_attn.q_proj.lora_A") }, /has lora_B but no lora_A$/],
  [
    "two adapters in one file",
    { tensors: put(`${q}.lora_A.other.weight`, [8, 64]) },
    /^tensors .*lora_A.* and .*lora_A.* are both lora_A of model/,
  ],
  ["ranks that differ", { tensors: reshape("lora_B", [64, 4]) }, /q_proj has rank 8 in lora_A, but rank 4 in lora_B$/],
  [
    "inputs that differ",
    { tensors: reshape("lora_A", [8, 32]) },
    /q_proj takes 64 inputs in the base, but 32 in lora_A$/,
  ],
  [
    "outputs that differ",
    { tensors: reshape("lora_B", [65, 8]) },
    /q_proj gives 64 outputs in the base, but 65 in lora_B$/,
  ],
  [
    "a rank of zero",
    { tensors: (all) => reshape("lora_B", [64, 0])(reshape("lora_A", [0, 64])(all)) },
    /has rank 0; 1 to 4096 is allowed$/,
  ],
  ["three axes", { tensors: reshape("lora_A", [1, 8, 64]) }, /has shape \[1, 8, 64\]; two axes are allowed$/],
  [
    "another dtype",
    {
      tensors: (all) =>
        all.map((tensor) => (tensor.name === `${q}.lora_A.weight` ? { ...tensor, dtype: "I32" } : tensor)),
    },
    /is I32; F32, F16 and BF16 are allowed$/,
  ],
  ["NaN", { tensors: poison(Number.NaN) }, /^tensor ".*q_proj\.lora_B\.weight" holds NaN or infinity$/],
  ["infinity", { tensors: poison(Number.NEGATIVE_INFINITY) }, /holds NaN or infinity$/],
  ["a product past float32", { tensors: poison(3e38) }, /times its scale 2 overflows float32/],
];

const unsupported: [string, Edit, RegExp][] = [
  [
    "DoRA's magnitudes in a LoRA config",
    { tensors: put(`${q}.lora_magnitude_vector`, [64]) },
    /^DoRA.*set it to true \(1 tensor uses it: .*lora_magnitude_vector"\)$/,
  ],
  [
    "modules_to_save",
    {
      config: { modules_to_save: ["down_proj"] },
      tensors: put("base_model.model.model.layers.0.mlp.down_proj.weight", [64, 64]),
    },
    /^modules saved whole/,
  ],
  ["a saved head", { tensors: put("base_model.model.lm_head.weight", [320, 64]) }, /^modules saved whole/],
  [
    "a convolution's axes",
    { tensors: put("base_model.model.model.layers.0.mlp.down_proj.lora_A.weight", [8, 3, 3, 3]) },
    /^LoRA with the four axes of a convolution/,
  ],
  [
    "QA-LoRA's means of inputs",
    {
      config: { use_qalora: true, qalora_group_size: 16 },
      tensors: (all) => put(`${q}.lora_A.weight`, [8, 4])(all.filter(({ name }) => name !== `${q}.lora_A.weight`)),
    },
    /q_proj has a lora_A for the means of 16 inputs each \(use_qalora\), as PEFT trains it over a base quantized by GPTQ/,
  ],
  ["AdaLoRA's tensors", { tensors: put(`${q}.lora_E`, [8, 1]) }, /^AdaLoRA/],
  [
    "mlx-lm's full tuning",
    { config: JSON.stringify({ fine_tune_type: "full", lora_parameters: { rank: 8, scale: 2 } }) },
    /fine_tune_type "full" is not supported/,
  ],
  ["a pattern with look-around", { config: { rank_pattern: { "(?=q)q_proj": 4 } } }, /not a linear-time expression/],
  ...["pissa", "pissa_niter_16", "olora", "corda", "loftq", "PiSSA", "lora_ga"].map((init): [string, Edit, RegExp] => [
    `${init} initialization`,
    { config: { init_lora_weights: init } },
    /changed the base's weights.*path_initial_model_for_weight_conversion/,
  ]),
  ...[
    ["VERA", "VeRA"],
    ["LOHA", "LoHa"],
    ["LOKR", "LoKr"],
    ["XLORA", "X-LoRA"],
    ["IA3", "(IA)³"],
    ["OFT", "OFT"],
    ["PROMPT_TUNING", "prompt tuning"],
    ["NEW", '"NEW"'],
  ].map(([type = "", name = ""]): [string, Edit, RegExp] => [
    name,
    { config: { peft_type: type } },
    new RegExp(`^${name.replace(/[()]/g, "\\$&")} \\(peft_type`),
  ]),
  ...Object.entries({
    layer_replication: [[0, 4]],
    alora_invocation_tokens: [5],
    use_bdlora: { a: 1 },
    target_parameters: ["x"],
    arrow_config: { a: 1 },
    kasa_config: { a: 1 },
    monteclora_config: { a: 1 },
    loftq_config: { bits: 4 },
  }).map(([key, value]): [string, Edit, RegExp] => [key, { config: { [key]: value } }, new RegExp(`^${key} is set`)]),
];

for (const [what, edit, faults] of invalid) {
  test(`refuses ${what}`, async () => {
    const folder = await edited(edit);
    const expected = faults instanceof RegExp ? [faults] : faults;
    for (const run of [checkAdapter, loadAdapter]) {
      const error = await refusalOf(run(folder, llama));
      assert.equal(error.code, "adapter_invalid");
      assert.equal(error.faults.length, expected.length, error.faults.join("\n"));
      for (const [i, pattern] of expected.entries()) assert.match(error.faults[i] ?? "", pattern);
      assert.match(error.message, new RegExp(`^The adapter was refused for ${expected.length} fault`));
      assert.match(error.message, /\.$/);
    }
  });
}

for (const [what, edit, fault] of unsupported) {
  test(`refuses ${what} by name`, async () => {
    const error = await refusalOf(checkAdapter(await edited(edit), llama, { label: "The adapter x" }));
    assert.equal(error.code, "adapter_unsupported", error.faults.join("\n"));
    assert.equal(error.faults.length, 1, error.faults.join("\n"));
    assert.match(error.faults[0] ?? "", fault);
    assert.match(error.message, /^The adapter x was refused for 1 fault: /);
  });
}

test("harmless values of refused keys, and heads that are not there, are accepted", async () => {
  const config = {
    layer_replication: [],
    use_qalora: false,
    loftq_config: {},
    arrow_config: null,
    modules_to_save: ["classifier"],
    megatron_core: "megatron.core",
    qalora_group_size: 16,
    init_lora_weights: "gaussian",
    fan_in_fan_out: true,
    trainable_token_indices: null,
    bias: "none",
    eva_config: { rho: 2 },
  };
  const { summary } = await checkAdapter(await edited({ config }), llama);
  assert.deepEqual(summary.warnings, []);
});

test("VeLoRA, and QA-LoRA over a plain base, are LoRA once they are trained, as PEFT computes them", async () => {
  const config = { use_qalora: true, velora_config: { num_groups: 4, init_type: "random", scale: 1 } };
  const tensors = put(`${q}.lora_velora_embed`, [16]);
  const { summary } = await checkAdapter(await edited({ config, tensors }), llama);
  const plain = await checkAdapter(await edited({}), llama);
  assert.deepEqual([summary.warnings, summary.weightsDigest], [[], plain.summary.weightsDigest]);
});

test("an adapter with convolutions and whole modules that the base lacks is for another base, not unsupported", async () => {
  const conv = (i: number): string => `base_model.model.stages.${i}.conv.lora_A.weight`;
  const folder = await edited({
    config: { modules_to_save: ["fc"] },
    tensors: (all) =>
      [0, 1, 2, 3].reduce(
        (held, i) => put(conv(i), [8, 3, 3, 3])(held),
        put("base_model.model.fc.weight", [2, 64])(all),
      ),
  });
  const error = await refusalOf(checkAdapter(folder, llama));
  assert.equal(error.code, "adapter_invalid");
  const lack = "the base, a language model, has no";
  assert.deepEqual(error.faults, [
    `${lack} module "fc"`,
    `${lack} convolution "stages.0.conv", "stages.1.conv", "stages.2.conv" or 1 more`,
  ]);
  assert.match(error.message, new RegExp(`^The adapter does not fit .*: ${error.faults.join("; ")}\\.$`));
});

test("one error lists every fault, and invalid ones decide the code", async () => {
  const folder = await edited({
    config: {
      use_bdlora: { a: 1 },
      r: -1,
      init_lora_weights: "pissa",
      layer_replication: [1],
      alpha_pattern: { "(": 1 },
    },
    tensors: (all) => put("nonsense", [1])(poison(Number.NaN)(drop("layers.1.self_attn.v_proj.lora_A")(all))),
  });
  const error = await refusalOf(checkAdapter(folder, llama));
  assert.equal(error.code, "adapter_invalid");
  assert.equal(error.found, 8);
  for (const part of [
    /^use_bdlora/,
    /^r is -1/,
    /^PiSSA/,
    /^layer_replication/,
    /^the pattern "\("/,
    /"nonsense"/,
    /v_proj has lora_B but no/,
    /NaN/,
  ]) {
    assert.ok(
      error.faults.some((fault) => part.test(fault)),
      `${part} in\n${error.faults.join("\n")}`,
    );
  }
  assert.match(error.message, /refused for 8 faults: .*; and 5 more\.$/);
});

test("a config and weights that are both broken are both named", async () => {
  const folder = await edited({ config: "nope" });
  truncateSync(join(folder, "adapter_model.safetensors"), 2000);
  const { faults } = await refusalOf(checkAdapter(folder, llama));
  assert.equal(faults.length, 2);
  assert.match(faults[1] ?? "", /^The file adapter_model\.safetensors .*outside the \d+ bytes/);
});

test("a flood of faults is listed up to a bound, and counted", async () => {
  const folder = await edited({
    tensors: (all) =>
      Array.from({ length: 1500 }, (_, i) => `t${i}`).reduce((list, name) => {
        list.push(...put(name, [1])([]));
        return list;
      }, all),
  });
  const error = await refusalOf(checkAdapter(folder, llama));
  assert.equal(error.found, 1500);
  assert.equal(error.faults.length, 1001);
  assert.equal(error.faults.at(-1), "500 more faults, not listed");
});

test("limits are options", async () => {
  const limits = { maxRank: 4, maxTensors: 3, maxConfigBytes: 10, maxHeaderBytes: 100 };
  for (const [key, pattern] of [
    ["maxRank", /rank 8; 1 to 4 is/],
    ["maxTensors", /at most 3 are/],
    ["maxConfigBytes", /longer than 10 bytes/],
    ["maxHeaderBytes", /at most 100 are/],
  ] as const) {
    const error = await refusalOf(checkAdapter(valid, llama, { limits: { [key]: limits[key] } }));
    assert.match(error.faults.join("\n"), pattern);
  }
});

test("pickles are never opened, and the refusal says what to do", async () => {
  const folder = await edited();
  renameSync(join(folder, "adapter_model.safetensors"), join(folder, "adapter_model.bin"));
  const error = await refusalOf(checkAdapter(folder, llama));
  assert.equal(error.code, "adapter_unsupported");
  assert.match(error.message, /pickle "adapter_model\.bin".*weights_only=True/);
  rmSync(join(folder, "adapter_model.bin"));
  mkdirSync(join(folder, "adapter_model.bin")); // a folder is not a pickle
  assert.match((await refusalOf(checkAdapter(folder, llama))).message, /adapter_model\.safetensors is missing/);
  assert.match((await refusalOf(checkAdapter(join(folder, "none"), llama))).message, /cannot be read \(ENOENT\)/);
});

for (const [what, content, hint] of [
  [
    "a Git LFS pointer",
    `version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 1\n`,
    /is a Git LFS pointer.*git lfs pull/,
  ],
  ["a web page", "\n<!doctype html><html>", /is a web page \(HTML\).*download the file/],
  ["GGUF", "GGUF\x03\0\0\0\0\0\0\0\0\0", /is a GGUF file.*use the PEFT folder/],
  ["a pickle", "\x80\x02}q\0X\x04\0\0\0", /is a PyTorch pickle.*never opened.*save_file/],
  ["a PyTorch archive", "PK\x03\x04aaaaaaaaaaaa", /is a PyTorch pickle/],
  ["gzip", "\x1f\x8b\x08\0aaaaaaaaaa", /is compressed; unpack it first/],
] as const) {
  test(`${what} in place of a file is named, with what to do`, async () => {
    for (const name of ["adapter_model.safetensors", "adapter_config.json"]) {
      const folder = await edited();
      writeFileSync(join(folder, name), Buffer.from(content, "latin1"));
      const error = await refusalOf(checkAdapter(folder, llama));
      assert.equal(error.code, "adapter_invalid");
      const isBinary = /[\x80-\xff]/.test(content);
      assert.match(error.message, name.endsWith("json") && isBinary ? /adapter_config\.json is not UTF-8 text/ : hint);
    }
  });
}

test("text in place of weights is quoted, and folders without weights list what they contain", async () => {
  const folder = await edited();
  writeFileSync(join(folder, "adapter_model.safetensors"), "Invalid username or password.");
  assert.match(
    (await refusalOf(checkAdapter(folder, llama))).message,
    /is text, not .* begins with "Invalid username or password\."/,
  );
  for (const [name, code, hint] of [
    ["adapter_model-00001-of-00002.safetensors", "adapter_unsupported", /are in shards, .*merge them into one/],
    ["adapter_model.safetensors.index.json", "adapter_unsupported", /are in shards/],
    ["lora-f16.gguf", "adapter_unsupported", /the only weights are GGUF/],
    [
      "model.safetensors",
      "adapter_invalid",
      /adapter_model\.safetensors is missing; "model\.safetensors" holds a whole model/,
    ],
  ] as const) {
    const other = await edited({ files: { [name]: "x" } });
    rmSync(join(other, "adapter_model.safetensors"));
    const error = await refusalOf(checkAdapter(other, llama));
    assert.equal(error.code, code);
    assert.match(error.message, hint);
  }
});

test("without a base, describe still refuses contradictions", async () => {
  const error = await refusalOf(describeAdapter(await edited({ tensors: reshape("lora_B", [64, 4]) }), null));
  assert.match(error.message, /rank 8 in lora_A, but rank 4 in lora_B/);
});

test("every mutated config or weights file either passes or is refused", async () => {
  const folder = await edited();
  const files = ["adapter_config.json", "adapter_model.safetensors"] as const;
  const originals = files.map((name) => readFileSync(join(folder, name)));
  const mutation = fc.record({
    file: fc.nat({ max: 1 }),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    cut: fc.nat({ max: 9 }),
    insert: fc.oneof(
      fc.uint8Array({ maxLength: 4 }),
      fc.constantFrom("null", "{}", "-1", '"', "[", "lora_B", "1e999").map((text) => new TextEncoder().encode(text)),
    ),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
      const contents = [...originals];
      for (const { file, at, cut, insert } of mutations) {
        const bytes = contents[file] ?? Buffer.alloc(0);
        const span = file === 0 ? bytes.length : Math.min(bytes.length, 1600); // mostly the header
        const index = Math.floor(at * span);
        contents[file] = Buffer.concat([bytes.subarray(0, index), insert, bytes.subarray(index + cut)]);
      }
      for (const [i, name] of files.entries()) writeFileSync(join(folder, name), contents[i] ?? "");
      try {
        const { bytes } = await loadAdapter(folder, llama);
        assert.ok(bytes <= (contents[1]?.length ?? 0) * 1.1);
      } catch (error) {
        assert.ok(error instanceof LorikeetError && /^adapter_(invalid|unsupported)$/.test(error.code), String(error));
        assert.ok(error.faults.length > 0);
      }
    }),
    { numRuns: 300 },
  );
});

test("a tied head and its embeddings, which PEFT trains as one parameter, are in the file twice and equal", async () => {
  const source = "test/fixtures/adapter-format/both-tied";
  const tied = baseModules((await openCheckpoint(`${oracle}/smollm3`)).config);
  const isOf =
    (part: string) =>
    ({ name }: EditableTensor): boolean =>
      name.includes(part);
  const without = (part: string) => (tensors: EditableTensor[]) => tensors.filter((tensor) => !isOf(part)(tensor));
  for (const [part, wanted] of [
    ["lm_head", /adapts model\.embed_tokens without the head that is tied to them/],
    ["embed_tokens", /adapts lm_head without the embeddings/],
  ] as const) {
    assert.match(
      (await refusalOf(loadAdapter(await edited({ source, tensors: without(part) }), tied))).message,
      wanted,
    );
  }
  const changed = (tensors: EditableTensor[]) =>
    tensors.map((tensor) =>
      isOf("lm_head.lora_B")(tensor)
        ? { ...tensor, data: tensor.data.map((byte, i) => (i === 4 ? byte ^ 1 : byte)) }
        : tensor,
    );
  const refused = await refusalOf(loadAdapter(await edited({ source, tensors: changed }), tied));
  assert.match(
    refused.message,
    /lm_head\.lora_B\.weight.*lora_embedding_A.*one parameter \(ensure_weight_tying\), but they differ/,
  );
  const ranked = await edited({ source, config: { r: 4, rank_pattern: { embed_tokens: 3 } } });
  assert.match(
    (await refusalOf(loadAdapter(ranked, tied))).message,
    /lm_head has the rank 3 of the embeddings .* gives it 4/,
  );
  // Over a base whose head is its own, PEFT ties nothing: the file's head is not its config's.
  const own = baseModules((await openCheckpoint(`${oracle}/llama`)).config);
  assert.match((await refusalOf(loadAdapter(await edited({ source }), own))).message, /config does not name.*lm_head/);
  const { activeBytes } = (await checkAdapter(await edited({ source }), tied)).summary;
  const bare = (await checkAdapter("test/fixtures/adapter-format/embedding-tied", tied)).summary.activeBytes;
  assert.equal(activeBytes - bare, 8 * (64 + 320) * 4); // padded to 8 ranks
});

test("a classifier has no other head that an adapter could change", async () => {
  const modules = baseModules((await openCheckpoint("test/fixtures/decoder-heads/classifier")).config);
  const refused = await refusalOf(loadAdapter("test/fixtures/adapter-format/head-tied", modules));
  assert.match(refused.message, /the base has no linear layer "lm_head"\./);
});

test("heads and embeddings of any family are known by the names of its base", async () => {
  const neox = baseModules((await openCheckpoint(`${oracle}/gpt_neox`)).config);
  const tied = baseModules((await openCheckpoint(`${oracle}/gpt_neox-sequential`)).config);
  const source = `${oracle}/gpt_neox/adapters/attn-r8`;
  const prefix = "base_model.model.";
  const first = "gpt_neox.layers.0.attention.query_key_value";
  // Either spelling of the head; its layer takes as many inputs as query_key_value, and has its own outputs.
  for (const name of ["embed_out", "lm_head"]) {
    const renameHead = (tensors: EditableTensor[]) =>
      tensors
        .filter((tensor) => tensor.name.startsWith(`${prefix}${first}.`))
        .map((tensor) => ({
          ...tensor,
          name: tensor.name.replace(first, name),
          ...(tensor.name.includes("lora_B") ? { shape: [320, 8], data: new Uint8Array(320 * 8 * 4).fill(1) } : {}),
        }));
    const folder = await edited({ source, config: { target_modules: [name] }, tensors: renameHead });
    assert.deepEqual([...(await loadAdapter(folder, neox)).modules.keys()], ["embed_out"]);
    assert.deepEqual([...(await loadAdapter(folder, tied)).modules.keys()], ["embed_out"]);
  }
  const whole = await edited({
    source,
    tensors: (tensors) => [
      ...tensors,
      { name: `${prefix}gpt_neox.embed_in.weight`, dtype: "F32", shape: [2, 2], data: new Uint8Array(16) },
    ],
  });
  assert.match(
    (await refusalOf(loadAdapter(whole, neox))).message,
    /modules saved whole .* are not supported over a language model, except .*gpt_neox\.embed_in\.weight/,
  );
  const all = await edited({
    source: `${oracle}/gpt_neox/adapters/all-r4-rslora`,
    config: { target_modules: "all-linear" },
  });
  assert.deepEqual(
    (await checkAdapter(all, neox)).summary.warnings,
    [],
    "all-linear names neither the head nor embeddings",
  );
});

test("an adapter made for another base is refused in one sentence that names both bases and the first differences", async () => {
  const own = await openCheckpoint("models/bookworm-7m");
  for (const named of ["org/other-8b", null]) {
    const folder = await edited({ source: "adapters/plays", config: { base_model_name_or_path: named } });
    const error = await refusalOf(checkAdapter(folder, llama, { baseNames: ["tiny-llama"] }));
    assert.equal(error.code, "adapter_invalid");
    const origin = named === null ? "" : ` \\(its config names "${named}"\\)`;
    const pattern = `^The adapter does not fit the base "tiny-llama"${origin}: module model\\.layers\\.0\\.mlp\\.down_proj takes \\d+ inputs in the base, but 768 in lora_A; `;
    assert.match(error.message, new RegExp(pattern));
    assert.match(error.message, /; and \d+ more; the base has no linear layer ("[^"]+", ){2}"[^"]+" or \d+ more\.$/);
    assert.ok(error.message.length < 500, error.message);
    assert.equal(error.faults.length, 13);
    assert.match(error.faults.at(-1) ?? "", /^\d+ more faults, not listed$/);
    await checkAdapter(folder, baseModules(own.config));
  }
  const both = await edited({ source: "adapters/plays", tensors: put("foo.bar", [1]) });
  assert.match(
    (await refusalOf(checkAdapter(both, llama))).message,
    /^The adapter was refused for \d+ faults: tensor "foo/,
  );
});
