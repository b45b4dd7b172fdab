/**
 * Hostile adapters by the hundred: whatever a config or a header holds, the answer is an adapter or a list of faults, within bounded
 * reads. `npm run fuzz` runs many more; FUZZ_SEED and FUZZ_RUNS choose them.
 */

import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { checkAdapter, describeAdapter, loadAdapter } from "../../../src/adapter/format.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { bandBytes } from "../../../src/tensor/safetensors-stream.js";
import { readsOf } from "../../support/reads.js";
import { edited, modulesOf, oracle, readTensors, valid } from "./helpers.js";

const options = { numRuns: Number(process.env.FUZZ_RUNS ?? 120), seed: Number(process.env.FUZZ_SEED ?? 1) };
const llama = await modulesOf(`${oracle}/llama`);
const folder = await edited();
const [configPath, weightsPath] = [
  join(folder, "adapter_config.json"),
  join(folder, "adapter_model.safetensors"),
] as const;
const goodConfig: Record<string, unknown> = JSON.parse(readFileSync(configPath, "utf8"));
const goodWeights = readFileSync(weightsPath);
const headerBytes = Number(goodWeights.readBigUInt64LE(0));
const goodHeader: Record<string, Record<string, unknown>> = JSON.parse(
  goodWeights.toString("utf8", 8, 8 + headerBytes),
);
const data = goodWeights.subarray(8 + headerBytes);
const names = (await readTensors(join(valid, "adapter_model.safetensors"))).map(({ name }) => name);

/** Checks, loads and describes what is in the folder now. */
async function examineAll(): Promise<void> {
  const size = statSync(weightsPath).size + statSync(configPath).size;
  for (const [run, most] of [
    [() => checkAdapter(folder, llama), bandBytes],
    [() => loadAdapter(folder, llama), Number.POSITIVE_INFINITY],
    [() => describeAdapter(folder, null), bandBytes],
  ] as const) {
    const reads = await readsOf(() => run().then(accept, refuse));
    assert.ok(reads.total <= 3 * size + 2 ** 14, `${reads.total} bytes were read of ${size}`);
    assert.ok(reads.largest <= most, `${reads.largest} bytes at once`);
  }
}

function accept(found: Awaited<ReturnType<typeof checkAdapter | typeof loadAdapter | typeof describeAdapter>>): void {
  const modules = "bytes" in found ? [...found.modules.values()] : [];
  for (const { a, b, scale } of modules) {
    assert.ok(Number.isFinite(scale));
    for (const values of [a, b]) if (values instanceof Float32Array) assert.ok(values.every(Number.isFinite));
  }
}

function refuse(error: unknown): void {
  assert.ok(error instanceof LorikeetError, error instanceof Error ? error.stack : String(error));
  assert.match(error.code, /^adapter_(invalid|unsupported)$/, error.message);
  assert.ok(error.faults.length > 0 && error.message.length < 4000, error.message);
  assert.ok(!error.message.includes(folder), error.message);
}

const evil = fc.constantFrom<unknown>(
  ...[
    null,
    true,
    0,
    -1,
    0.5,
    1,
    8,
    4097,
    2 ** 31,
    2 ** 53,
    1e30,
    1e308,
    -1e-320,
    "",
    "a",
    "8",
    "\0",
    "\ud800",
    "__proto__",
  ],
  ...[
    [],
    {},
    [null],
    [[]],
    { a: 1 },
    { "": {} },
    "x".repeat(2000),
    Array(3000).fill(1),
    [0, 4],
    ["q_proj"],
    "all-linear",
  ],
);
const part = fc.constantFrom(
  "q_proj",
  "layers",
  ".",
  "\\.",
  ".*",
  "\\d",
  "(",
  ")",
  "|",
  "[a-z]",
  "[^",
  "]",
  "{2,9}",
  "{,3}",
  "{",
  "}",
  "*",
  "+?",
  "?",
  "^",
  "$",
  "(?:",
  "(?i)",
  "(?=",
  "\\p{L}",
  "\\1",
  "\\",
  "é",
  "a{1000}",
);
const expression = fc.oneof(
  fc.array(part, { maxLength: 12 }).map((parts) => parts.join("")),
  fc.constantFrom(".*_proj", "q_proj", "(a*)*b"),
);
const patterns = fc.dictionary(expression, fc.oneof(fc.constantFrom<unknown>(4, 8, 1e9), evil), { maxKeys: 6 });
const keys = fc.constantFrom(
  ...[
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "bias",
    "modules_to_save",
    "target_modules",
    "exclude_modules",
  ],
  ...[
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "init_lora_weights",
    "lora_bias",
    "eva_config",
  ],
  ...["runtime_config", "auto_mapping", "loftq_config", "trainable_token_indices", "fan_in_fan_out", "lora_parameters"],
  ...["__proto__", "constructor", "num_layers", "fine_tune_type", "init_r", "base_model_name_or_path", "x"],
);
const value = fc.oneof(
  evil,
  expression,
  fc.array(expression, { maxLength: 4 }),
  patterns,
  fc.constantFrom("ADALORA", "LORA", "VERA"),
);
const mlx = fc.record({
  peft_type: fc.constant(undefined),
  num_layers: evil,
  lora_parameters: fc.dictionary(fc.constantFrom("rank", "scale", "alpha", "keys", "dropout", "y"), value),
});

test("every config either passes or is refused", async () => {
  const edits = fc.array(fc.tuple(keys, value), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(edits, fc.option(mlx, { freq: 4 }), async (pairs, other) => {
      const config = { ...goodConfig };
      for (const [key, wanted] of pairs)
        Object.defineProperty(config, key, { value: wanted, enumerable: true, configurable: true });
      writeFileSync(configPath, JSON.stringify({ ...config, ...other }));
      writeFileSync(weightsPath, goodWeights);
      await examineAll();
    }),
    options,
  );
});

const name = fc.oneof(
  fc.constantFrom(...names),
  fc
    .constantFrom(...names)
    .chain((good) =>
      fc.constantFrom(
        `${good}.x`,
        good.replace("lora_A", "lora_B"),
        good.replace("weight", "bias"),
        good.replace("layers.0", "layers.99"),
        `_orig_mod.${good}`,
        good.replace("lora_A.weight", "lora_E"),
        good.replace("lora_A.weight", "token_adapter.trainable_tokens_delta"),
        good.replace("lora_B.weight", "lora_magnitude_vector"),
      ),
    ),
  fc.constantFrom(
    "__proto__",
    "__metadata__",
    "constructor",
    "",
    "\0",
    "a".repeat(5000),
    "x.lora_A.weight",
    "lora_A",
    "base_model.model.lm_head.weight",
  ),
);
const size = fc.constantFrom<unknown>(0, 1, 2, 8, 64, 4096, 4097, -1, 0.5, 2 ** 31, 2 ** 53, 1e308, "8", null, [], {});
const sizes = fc.oneof(
  fc.array(size, { maxLength: 4 }),
  fc.constant(Array(17).fill(1)),
  fc.constant(null),
  fc.constant("8"),
);
const entry = fc.oneof(
  evil,
  fc.record(
    {
      dtype: fc.constantFrom<unknown>("F32", "F16", "BF16", "F64", "I64", "BOOL", "F8_E4M3", "", null, 3),
      shape: sizes,
      data_offsets: sizes,
      extra: evil,
    },
    { requiredKeys: ["dtype", "shape", "data_offsets"] },
  ),
  fc.constantFrom(...names).map((good) => goodHeader[good]),
);

test("every header either passes or is refused", async () => {
  const edits = fc.array(fc.tuple(name, entry, fc.boolean()), { minLength: 1, maxLength: 4 });
  const bytes = fc.record({
    cut: fc.nat(4000),
    at: fc.nat(2000),
    flip: fc.nat(255),
    kind: fc.nat(9),
    length: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  });
  await fc.assert(
    fc.asyncProperty(edits, bytes, async (pairs, { cut, at, flip, kind, length }) => {
      const header = new Map<string, unknown>(Object.entries(goodHeader));
      for (const [key, wanted, removed] of pairs)
        if (removed) header.delete(key);
        else header.set(key, wanted);
      const json = `{${[...header].map(([key, wanted]) => `${JSON.stringify(key)}:${JSON.stringify(wanted) ?? "null"}`).join(",")}}`;
      const prefix = Buffer.alloc(8);
      prefix.writeBigUInt64LE(kind === 0 ? length : BigInt(Buffer.byteLength(json)));
      let file = Buffer.concat([prefix, Buffer.from(json), data]);
      if (kind === 1) file = file.subarray(0, cut);
      if (kind === 2) file[at] = flip;
      writeFileSync(weightsPath, file);
      writeFileSync(configPath, JSON.stringify(goodConfig));
      await examineAll();
    }),
    options,
  );
});
