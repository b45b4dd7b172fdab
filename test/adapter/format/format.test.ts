import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { test } from "node:test";
import { targetModulesOf } from "../../../src/adapter/format/target-modules.js";
import { checkAdapter, describeAdapter, loadAdapter, writeAdapter } from "../../../src/adapter/format.js";
import type { HostAdapter, HostModule } from "../../../src/adapter/types.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { baseModules } from "../../../src/model/modules.js";
import { viewAs } from "../../../src/tensor/dtype.js";
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16 } from "../../../src/tensor/half.js";
import { transpose } from "../../../src/tensor/transpose.js";
import {
  type EditableTensor,
  edited,
  halves,
  modulesOf,
  narrowed,
  oracle,
  readTensors,
  refusalOf,
  renamed,
  valid,
} from "./helpers.js";

const deltas: readonly Delta[] = JSON.parse(readFileSync("test/fixtures/adapter-format/peft-deltas.json", "utf8"));
/** Those whose products PEFT has computed. */
const families = readdirSync(oracle).filter((name) =>
  deltas.some(({ adapter }) => adapter.includes(`/oracle/${name}/`)),
);
const folders = [
  ...families.flatMap((family) =>
    readdirSync(`${oracle}/${family}/adapters`).map((name) => [
      `${oracle}/${family}`,
      `${oracle}/${family}/adapters/${name}`,
    ]),
  ),
  ...["plays", "sentiment", "dates", "commands"].map((name) => ["models/bookworm-7m", `adapters/${name}`] as const),
  [`${oracle}/llama`, "test/fixtures/adapter-format/llama-regex"],
] as const;

interface Delta {
  readonly adapter: string;
  readonly path: string;
  readonly rank: number;
  readonly alpha: number;
  readonly scale: number;
  /** [output, input, value] of scale·B·A, as PEFT computes it. */
  readonly entries: readonly (readonly [number, number, number])[];
}

const widen = { F32: (x: HostModule["a"]) => x, F16: toF32(float16ToFloat32), BF16: toF32(bfloat16ToFloat32) };
function toF32(convert: (bits: Uint16Array) => Float32Array) {
  return (x: HostModule["a"]): HostModule["a"] => (x instanceof Uint16Array ? convert(x) : x);
}

/** scale·B·A at [output, input], from the engine's layout. */
function delta(module: HostModule, inFeatures: number, outFeatures: number, output: number, input: number): number {
  const a = widen[module.dtype](module.a);
  const b = widen[module.dtype](module.b);
  assert.equal(a.length, inFeatures * module.rank);
  let sum = 0;
  for (let r = 0; r < module.rank; r++) {
    sum += (a[input * module.rank + r] ?? Number.NaN) * (b[r * outFeatures + output] ?? Number.NaN);
  }
  return sum * module.scale;
}

for (const [base, folder] of folders) {
  test(`${folder} loads with PEFT's ranks, scales and products`, async () => {
    const modules = baseModules((await openCheckpoint(base)).config);
    const checked = await checkAdapter(folder, modules);
    const loaded = await loadAdapter(folder, modules, { expectedDigest: checked.summary.weightsDigest });
    assert.equal(loaded.modules.size, checked.modules.length);
    assert.deepEqual(checked.summary.warnings, []);
    assert.deepEqual(
      [...loaded.modules.keys()],
      modules.map(({ path }) => path).filter((path) => loaded.modules.has(path)),
    );
    const fileBytes = statSync(`${folder}/adapter_model.safetensors`).size;
    assert.equal(loaded.bytes, checked.summary.bytes);
    assert.ok(loaded.bytes <= fileBytes * 1.1);
    const expected = deltas.filter(({ adapter }) => adapter === folder);
    assert.ok(expected.length >= 3);
    for (const { path, rank, alpha, scale, entries } of expected) {
      const module = checked.modules.find((candidate) => candidate.path === path);
      assert.ok(module, path);
      assert.deepEqual([module.rank, module.alpha, module.scale], [rank, alpha, scale], path);
      const held = loaded.modules.get(path);
      assert.ok(held);
      for (const [output, input, value] of entries) {
        const found = delta(held, module.inFeatures, module.outFeatures, output, input);
        assert.ok(Math.abs(found - value) <= 1e-6 * Math.max(1, Math.abs(value)), `${path} ${found} ${value}`);
      }
    }
  });
}

const llama = await modulesOf(`${oracle}/llama`);
const plain = await checkAdapter(await edited(), llama);

function sameModules(left: HostAdapter, right: HostAdapter): void {
  assert.deepEqual([...left.modules], [...right.modules]);
}

const spellings: [string, (name: string) => string][] = [
  ["no prefix", (name) => name.replace("base_model.model.", "")],
  ["the prefix twice", (name) => `base_model.model.${name}`],
  ["a `.default` infix", (name) => name.replace(".weight", ".default.weight")],
  ["another adapter's name", (name) => name.replace(".weight", ".my-adapter.weight")],
  ["torch.compile", (name) => name.replace("base_model.model.", "base_model.model._orig_mod.")],
  ["a leading torch.compile", (name) => `_orig_mod.${name}`],
  ["DataParallel", (name) => `module.${name}`],
  ["DataParallel inside", (name) => name.replace("base_model.model.", "base_model.model.module.")],
  ["FSDP", (name) => name.replace(/layers\.(\d+)\./, "layers.$1._fsdp_wrapped_module.")],
  ["everything at once", (name) => `module._orig_mod.base_model.model.${name.replace(".weight", ".x.weight")}`],
];
for (const [what, rename] of spellings) {
  test(`names with ${what} are the same adapter`, async () => {
    const folder = await edited({ tensors: renamed(rename) });
    const checked = await checkAdapter(folder, llama);
    assert.notEqual(checked.summary.digest, plain.summary.digest, "the file is another");
    assert.deepEqual({ ...checked.summary, digest: "" }, { ...plain.summary, digest: "" });
    assert.deepEqual(
      checked.modules.map(({ path }) => path),
      plain.modules.map(({ path }) => path),
    );
  });
}

test("wrappers of a language model are remapped when one module fits, with a warning", async () => {
  for (const wrapper of ["model.language_model.", "language_model.model.", ""]) {
    const folder = await edited({
      tensors: renamed((name) => name.replace("model.model.model.", `model.model.${wrapper}`)),
    });
    const { summary } = await checkAdapter(folder, llama);
    assert.equal(summary.weightsDigest, plain.summary.weightsDigest);
    assert.equal(summary.warnings.length, 1);
    assert.match(summary.warnings[0] ?? "", /was taken for "model\.layers\.0\.self_attn\.\w+", and 5 more likewise/);
  }
});

test("a vision tower's layers are not taken for the language model's", async () => {
  const folder = await edited({
    tensors: renamed((name) => name.replace("model.model.model.", "model.model.model.vision_tower.")),
  });
  const error = await refusalOf(checkAdapter(folder, llama));
  assert.equal(error.code, "adapter_invalid");
  assert.match(error.faults.join(), /^the base has no linear layer "model\.vision_tower\.[^;]* more$/);
});

test("adapters of a Gemma 3 checkpoint are found under the paths of every version, and of its text model alone", async () => {
  const base = `${oracle}/gemma3`;
  const modules = baseModules((await openCheckpoint(base)).config);
  const source = `${base}/adapters/all-r4-rslora`;
  const { modules: own } = await loadAdapter(source, modules);
  for (const wrapper of ["language_model.model.", "model."]) {
    const folder = await edited({ source, tensors: renamed((name) => name.replace("model.language_model.", wrapper)) });
    assert.deepEqual([...(await loadAdapter(folder, modules)).modules.keys()], [...own.keys()], wrapper);
  }
  const seen = await edited({
    source,
    tensors: renamed((name) => name.replace("language_model.", "vision_tower.encoder.")),
  });
  assert.match(
    (await refusalOf(loadAdapter(seen, modules))).message,
    /the base has no linear layer "[^;]*vision_tower/,
  );
});

test("a remap that fits two modules is refused", async () => {
  const module = { path: "language_model.layers.0.self_attn.q_proj", inFeatures: 64, outFeatures: 64 };
  const folder = await edited({ tensors: renamed((name) => name.replace("model.model.model.", "model.model.")) });
  const error = await refusalOf(checkAdapter(folder, [...llama, module]));
  assert.ok(error.faults.some((fault) => /layers\.0\.self_attn\.q_proj.* matches no linear layer/.test(fault)));
});

/** The tensors as mlx-lm would save them. */
function toMlx({ name, dtype, shape: [rows = 0, columns = 0], data }: EditableTensor): EditableTensor {
  const renamedTensor = name
    .replace("base_model.model.", "")
    .replace(".lora_A.weight", ".lora_a")
    .replace(".lora_B.weight", ".lora_b");
  const bytes = new Uint8Array(transpose(viewAs("F32", data), rows, columns).buffer as ArrayBuffer);
  return { name: renamedTensor, dtype, shape: [columns, rows], data: bytes };
}

test("mlx-lm's adapters are imported: transposed, alpha = scale·r", async () => {
  const scale = plain.modules[0]?.scale ?? 0;
  const folder = await edited({
    config: JSON.stringify({
      fine_tune_type: "lora",
      num_layers: 4,
      model: "x/llama",
      batch_size: 4,
      lora_parameters: { rank: 8, scale, dropout: 0 },
    }),
    tensors: (tensors) => tensors.map(toMlx),
    weightsName: "adapters.safetensors",
    files: { "0000100_adapters.safetensors": "" },
  });
  const checked = await checkAdapter(folder, llama, { baseNames: ["llama"] });
  assert.equal(checked.config.lora_alpha, scale * 8);
  assert.equal(checked.summary.weightsDigest, plain.summary.weightsDigest);
  assert.deepEqual(checked.summary.warnings, []);
  assert.deepEqual(checked.summary.ignored, ["0000100_adapters.safetensors"]);
  sameModules(await loadAdapter(folder, llama), await loadAdapter(valid, llama));
});

test("mlx-lm of April to June 2024 wrote an alpha, which counts: scale·alpha/rank", async () => {
  const of = async (parameters: object, more: object = {}) => {
    const config = JSON.stringify({ lora_layers: 4, lora_parameters: { rank: 8, scale: 10, ...parameters }, ...more });
    return edited({ config, tensors: (tensors) => tensors.map(toMlx), weightsName: "adapters.safetensors" });
  };
  const { summary, modules } = await checkAdapter(await of({ alpha: 16 }), llama);
  assert.deepEqual(summary.scales, { min: 20, max: 20 });
  assert.equal(modules[0]?.alpha, 160);
  assert.match(summary.warnings.join(), /^lora_parameters\.alpha is 16, so the scale is 10 \* 16 \/ 8 = 20/);
  const same = await checkAdapter(await of({ alpha: 8 }), llama);
  assert.deepEqual([same.summary.scales.max, same.summary.warnings], [10, []]);
  const strange = await checkAdapter(await of({ gain: 2 }, { boost: 3 }), llama);
  assert.match(strange.summary.warnings.join(), /unknown keys, which were ignored: "boost", "lora_parameters\.gain"/);
  for (const parameters of [{ scale: 0 }, { scale: -1 }, { scale: 1e30 }, { alpha: 0 }, { alpha: "16" }]) {
    const [key = ""] = Object.keys(parameters);
    const { message } = await refusalOf(checkAdapter(await of(parameters), llama));
    assert.match(message, new RegExp(`lora_parameters\\.${key} is .*; a number above 0, up to 1000000, is allowed`));
  }
});

test("16-bit adapters keep their bits, and the scale waits", async () => {
  for (const half of halves) {
    const tensors = narrowed(half);
    const loaded = await loadAdapter(await edited({ tensors }), llama);
    const original = await loadAdapter(valid, llama);
    assert.equal(loaded.bytes * 2, original.bytes);
    for (const [path, module] of loaded.modules) {
      const full = original.modules.get(path);
      assert.ok(module.a instanceof Uint16Array && full?.a instanceof Float32Array);
      assert.deepEqual(module.a, half[1](full.a));
      assert.equal(module.scale, plain.modules.find((module) => module.path === path)?.scale);
    }
  }
});

test("a module that mixes dtypes is widened, with the scale folded", async () => {
  const tensors = (all: EditableTensor[]): EditableTensor[] =>
    all.map((tensor) =>
      tensor.name.includes("lora_A")
        ? { ...tensor, dtype: "BF16", data: new Uint8Array(float32ToBfloat16(viewAs("F32", tensor.data)).buffer) }
        : tensor,
    );
  const folder = await edited({ tensors });
  const { modules, bytes } = await loadAdapter(folder, llama);
  const original = await loadAdapter(valid, llama);
  assert.equal(bytes, original.bytes);
  for (const [path, module] of modules) {
    assert.deepEqual([module.dtype, module.scale], ["F32", 1]);
    assert.deepEqual(module.b, original.modules.get(path)?.b);
  }
  assert.match((await describeAdapter(folder, llama)).modules[0]?.dtype ?? "", /^BF16\/F32$/);
});

test("the digest follows content and scale, not spelling or order", async () => {
  const digestOf = async (edit: Parameters<typeof edited>[0]): Promise<string> =>
    (await checkAdapter(await edited(edit), llama)).summary.weightsDigest;
  assert.match(plain.summary.weightsDigest, /^sha256:[0-9a-f]{64}$/);
  assert.equal(
    await digestOf({ config: { lora_dropout: 0.5, revision: "x", target_modules: ".*_proj" } }),
    plain.summary.weightsDigest,
  );
  assert.notEqual(await digestOf({ config: { lora_alpha: 17 } }), plain.summary.weightsDigest);
  assert.notEqual(await digestOf({ config: { use_rslora: true } }), plain.summary.weightsDigest);
  assert.notEqual(await digestOf({ config: { alpha_pattern: { q_proj: 3 } } }), plain.summary.weightsDigest);
  const flip = (all: EditableTensor[]): EditableTensor[] => {
    const first = all[0]?.data;
    if (first) first[0] = (first[0] ?? 0) ^ 1;
    return all;
  };
  assert.notEqual(await digestOf({ tensors: flip }), plain.summary.weightsDigest);
  const swap = renamed((name) => name.replace("q_proj", "o_proj"));
  const targets = { target_modules: ["o_proj", "v_proj"] };
  assert.notEqual(await digestOf({ config: targets, tensors: swap }), plain.summary.weightsDigest);
});

test("an unexpected digest is refused with both digests", async () => {
  const error = await refusalOf(loadAdapter(valid, llama, { expectedDigest: "sha256:00", label: "The adapter plays" }));
  assert.equal(error.code, "digest_mismatch");
  assert.match(error.message, /^The adapter plays has the digest sha256:.*; sha256:00 was expected\.$/);
});

test("matrices of zero, unknown keys, other bases and other ranks are warnings", async () => {
  const zero = (names: RegExp) => (all: EditableTensor[]) =>
    all.map((tensor) => (names.test(tensor.name) ? { ...tensor, data: new Uint8Array(tensor.data.length) } : tensor));
  const warningsOf = async (edit: Parameters<typeof edited>[0], baseName = "llama"): Promise<string> =>
    (await checkAdapter(await edited(edit), llama, { baseNames: [baseName] })).summary.warnings.join("\n");
  assert.equal(await warningsOf({ tensors: zero(/lora_B/) }), "The adapter changes nothing: every lora_B is zero.");
  assert.equal(await warningsOf({ tensors: zero(/lora_A/) }), "The adapter changes nothing: every lora_A is zero.");
  assert.equal(
    await warningsOf({ tensors: zero(/layers\.0.*lora_A|layers\.1.*lora_B/) }),
    "4 of 6 modules change nothing: their lora_A or lora_B is zero.",
  );
  assert.equal(
    await warningsOf({ tensors: zero(/layers\.0\.self_attn\.q_proj/) }),
    "1 of 6 modules change nothing: their lora_A or lora_B is zero.",
  );
  assert.match(
    await warningsOf({ config: { shiny: 1, constructor: 2 } }),
    /unknown keys, which were ignored: "shiny", "constructor"/,
  );
  assert.match(await warningsOf({ config: { init_lora_weights: "shiny" } }), /^init_lora_weights "shiny" is unknown/);
  assert.equal(await warningsOf({ config: { init_lora_weights: "mica" } }), "");
  const nested = {
    eva_config: { rho: 2, factor: 3 },
    runtime_config: { scale: 2 },
    auto_mapping: { parent_library: "x" },
  };
  assert.match(
    await warningsOf({ config: nested }),
    /unknown keys, which were ignored: "runtime_config\.scale", "eva_config\.factor"\.$/,
  );
  assert.match(
    await warningsOf({ config: { r: 4 } }),
    /trusted over the config's: model\.layers\.0\.\S+ has rank 8, the config says 4, and 5 more/,
  );
  assert.match(await warningsOf({}, "gemma"), /names "llama" as its base; this base is "gemma"/);
  assert.equal(await warningsOf({ config: { base_model_name_or_path: "meta/LLAMA/" } }, "/models/llama"), "");
  const several = { baseNames: ["snapshot", "org/llama"] };
  assert.deepEqual((await checkAdapter(await edited(), llama, several)).summary.warnings, []);
  assert.match(
    await warningsOf({ config: JSON.stringify({ peft_type: "LORA", r: 8 }) }),
    /no lora_alpha; PEFT's default of 8.*\n.*no target_modules/,
  );
});

test("ignored files are named, never opened", async () => {
  const files = {
    "README.md": "",
    "chat_template.jinja": "",
    "training_args.bin": "x",
    "optimizer.pt": "x",
    "lorikeet.json": "{}",
  };
  const { summary } = await checkAdapter(await edited({ files }), llama);
  assert.deepEqual(summary.ignored, ["optimizer.pt", "training_args.bin"]);
});

test("the summary counts the engine's bytes", () => {
  const elements = plain.modules.reduce(
    (sum, { rank, inFeatures, outFeatures }) => sum + rank * (inFeatures + outFeatures),
    0,
  );
  const width = targetModulesOf(llama).reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures + outFeatures, 0);
  assert.equal(plain.summary.activeBytes, 4 * 8 * width, "a place has every module of the base, at the largest rank");
  assert.equal(plain.summary.bytes, 4 * elements);
  assert.deepEqual([plain.summary.rank, plain.summary.modules], [8, 6]);
  assert.deepEqual(plain.summary.scales, { min: 2, max: 2 });
});

test("describe folds equal layers, with a base and without", async () => {
  const folder = `${oracle}/llama/adapters/patterns`;
  const withBase = await describeAdapter(folder, llama);
  const without = await describeAdapter(folder, null);
  assert.equal(without.summary.weightsDigest, withBase.summary.weightsDigest);
  assert.equal(withBase.modules.length, 21);
  assert.equal(withBase.kinds.length, 7);
  const [kind] = withBase.kinds.filter(({ path }) => path === "model.layers.*.self_attn.q_proj");
  assert.equal(kind?.count, 3);
  assert.deepEqual([...without.kinds].sort(byPath), [...withBase.kinds].sort(byPath));
});
const byPath = (left: { path: string }, right: { path: string }): number => (left.path < right.path ? -1 : 1);

test("writeAdapter round-trips, and writes the same bytes twice", async () => {
  const source = `${oracle}/llama/adapters/patterns`;
  const read = await checkAdapter(source, llama);
  const data = new Map(
    (await readTensors(`${source}/adapter_model.safetensors`)).map((tensor) => [tensor.name, tensor.data]),
  );
  const tensors = read.modules.map(({ path, rank, inFeatures, outFeatures, aName, bName }) => ({
    path,
    rank,
    inFeatures,
    outFeatures,
    a: viewAs("F32", data.get(aName) ?? new Uint8Array()),
    b: viewAs("F32", data.get(bName) ?? new Uint8Array()),
  }));
  const { r, lora_alpha: loraAlpha, rank_pattern, alpha_pattern } = read.config;
  const config = {
    r,
    loraAlpha,
    baseModelName: "llama",
    targetModules: [...new Set(read.modules.map(({ path }) => path.split(".").at(-1) ?? path))],
    rankPattern: Object.fromEntries(rank_pattern),
    alphaPattern: Object.fromEntries(alpha_pattern),
  };
  const folder = await edited();
  await writeAdapter(folder, { config, tensors }, { fsync: true });
  assert.equal(
    (await checkAdapter(folder, llama, { baseNames: ["llama"] })).summary.weightsDigest,
    read.summary.weightsDigest,
  );
  assert.deepEqual(
    readFileSync(`${folder}/adapter_model.safetensors`),
    readFileSync(`${source}/adapter_model.safetensors`),
  );
  const again = await edited();
  await writeAdapter(again, { config, tensors: [...tensors].reverse() });
  for (const name of ["adapter_model.safetensors", "adapter_config.json"]) {
    assert.deepEqual(readFileSync(`${again}/${name}`), readFileSync(`${folder}/${name}`));
  }
  const keys = Object.keys(JSON.parse(readFileSync(`${folder}/adapter_config.json`, "utf8")));
  assert.deepEqual(keys, [...keys].sort());
  const half = await edited();
  await writeAdapter(half, { config, tensors }, { dtype: "BF16" });
  const stored = await readTensors(`${half}/adapter_model.safetensors`);
  assert.equal(stored.length, data.size);
  for (const { name, dtype, data: bytes } of stored) {
    assert.equal(dtype, "BF16");
    const expected = float32ToBfloat16(viewAs("F32", data.get(name) ?? new Uint8Array()));
    assert.deepEqual(viewAs("BF16", bytes), expected, name);
  }
  assert.equal((await checkAdapter(half, llama)).modules.length, read.modules.length);
});
