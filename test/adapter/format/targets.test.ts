import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { readPeft } from "../../../src/adapter/format/config/peft.js";
import { compareModules } from "../../../src/adapter/format/coverage.js";
import { Faults } from "../../../src/adapter/format/faults.js";
import { FeatureLog } from "../../../src/adapter/format/features.js";
import { PatternBudget } from "../../../src/adapter/format/patterns.js";
import { TargetModuleIndex } from "../../../src/adapter/format/target-modules.js";
import { peftTargets } from "../../../src/adapter/format/targets.js";
import { checkAdapter, loadAdapter } from "../../../src/adapter/format.js";
import type { BaseModule } from "../../../src/model/blueprint.js";
import { type EditableTensor, edited, modulesOf, oracle, refusalOf, renamed, valid, withTables } from "./helpers.js";

interface Case {
  readonly base: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly matched: readonly string[];
}
const judged: {
  readonly bases: Readonly<Record<string, readonly (readonly [string, number, number])[]>>;
  readonly cases: readonly Case[];
} = JSON.parse(readFileSync("test/fixtures/adapter-format/targets/expected.json", "utf8"));

const modulesIn = (base: string): BaseModule[] =>
  withTables((judged.bases[base] ?? []).map(([path, inFeatures, outFeatures]) => ({ path, inFeatures, outFeatures })));

function read(config: object) {
  const [faults, warnings] = [new Faults(), [] as string[]];
  const { targets } =
    readPeft({ peft_type: "LORA", r: 2, lora_alpha: 2, ...config }, faults, new FeatureLog(), warnings) ?? {};
  assert.ok(targets?.kind === "peft");
  const none = new Set<string>();
  return { targets, faults, warnings, budget: new PatternBudget(faults), wholes: none, copied: none, ties: [] };
}

for (const { base, config, matched } of judged.cases) {
  test(`names the modules of ${base} that PEFT adapts for ${JSON.stringify(config)}`, () => {
    const context = read(config);
    const targetModules = new TargetModuleIndex(modulesIn(base));
    const names = peftTargets(context.targets, { ...context, targetModules });
    if (config.target_modules === null) return assert.equal(names, null);
    assert.ok(names);
    const modules = targetModules.modules();
    assert.deepEqual(new Set(modules.filter(names)), new Set(matched));
    assert.equal(context.faults.count, 0);
  });
}

function compare(base: string, config: object, found: readonly (string | readonly [string, string])[]) {
  const context = read(config);
  const pairs = found.map((path): readonly [string, string] => (typeof path === "string" ? [path, path] : path));
  compareModules(new Map(pairs), { ...context, targetModules: new TargetModuleIndex(modulesIn(base)) });
  return context;
}

test("missing modules are reported by the base's names, whatever wrapped the trained model", () => {
  const targets = { target_modules: ["self_attn.q_proj", "lm_head"], layers_to_transform: [0, 2, 11] };
  const q = (layer: number): string => `model.layers.${layer}.self_attn.q_proj`;
  const wrapped = (layer: number) => [q(layer), `model.language_model.layers.${layer}.self_attn.q_proj`] as const;
  const { warnings, faults } = compare("llama", targets, [wrapped(0), wrapped(11)]);
  assert.equal(faults.count, 0);
  assert.deepEqual(warnings, [
    `The config names 2 modules that the file lacks, which stay as in the base: "${q(2)}", "lm_head".`,
  ]);
});

test("modules_to_save that are missing are a warning if the base has them", () => {
  const saved = (names: string[]) =>
    compare("gpt2", { target_modules: ["c_attn"], modules_to_save: names }, all).warnings;
  const all = [0, 1, 2].map((layer) => `transformer.h.${layer}.attn.c_attn`);
  assert.deepEqual(saved(["classifier", "score"]), []);
  assert.match(
    saved(["wte", "lm_head", "score"]).join(),
    /^modules_to_save names what the file lacks.*: "wte", "lm_head"\.$/,
  );
});

const llama = await modulesOf(`${oracle}/llama`);
const only = (part: RegExp) => (all: EditableTensor[]) => all.filter(({ name }) => part.test(name));

test("an adapter that lacks modules of its config is served with a warning", async () => {
  const whole = (await checkAdapter(valid, llama)).summary;
  assert.deepEqual(whole.warnings, []);
  for (const [what, edit, missing] of [
    [
      "layers",
      { tensors: only(/layers\.[12]\./) },
      /^The config names 2 modules .*"model\.layers\.0\.self_attn\.q_proj", /,
    ],
    ["names", { config: { target_modules: ["q_proj", "v_proj", "up_proj"] } }, /^The config names 3 modules .*up_proj/],
    [
      "an embedding",
      { config: { target_modules: ["q_proj", "v_proj", "embed_tokens"] } },
      /1 module .*: "model\.embed_tokens"\.$/,
    ],
    ["an expression", { config: { target_modules: ".*[qvo]_proj" } }, /names 3 modules .*o_proj/],
    ["everything", { config: { target_modules: "all-linear" } }, /names 15 modules .* and 7 more\.$/],
  ] as const) {
    const { summary } = await checkAdapter(await edited(edit), llama);
    assert.equal(summary.warnings.length, 1, what);
    assert.match(summary.warnings[0] ?? "", missing, what);
  }
});

test("tensors that the config does not name are refused", async () => {
  for (const [config, unnamed] of [
    [
      { target_modules: ["q_proj"] },
      /^the file holds 3 modules that the config does not name .*: "model\.layers\.0\.self_attn\.v_proj"/,
    ],
    [{ target_modules: [] }, /^the file holds 6 modules/],
    [{ layers_to_transform: [0, 1] }, /^the file holds 2 modules .*layers\.2\.self_attn\.q_proj/],
    [{ layers_to_transform: 0, layers_pattern: "layers" }, /^the file holds 4 modules/],
    [{ layers_to_transform: [0, 1, 2], layers_pattern: ["h"] }, /^the file holds 6 modules/],
    [{ exclude_modules: ["2.self_attn.q_proj"] }, /^the file holds 1 module that/],
    [{ exclude_modules: ".*v_proj" }, /^the file holds 3 modules/],
    [{ target_modules: "model\\.layers\\.[01]\\..*" }, /^the file holds 2 modules/],
  ] as const) {
    const folder = await edited({ config });
    for (const run of [checkAdapter, loadAdapter]) {
      const error = await refusalOf(run(folder, llama));
      assert.equal(error.code, "adapter_invalid");
      assert.equal(error.faults.length, 1, error.faults.join("\n"));
      assert.match(error.faults[0] ?? "", unnamed);
    }
  }
});

test("a config that cannot be compared is served with a warning that says so", async () => {
  for (const [config, warning] of [
    [{ target_modules: null }, /^The config has no target_modules/],
    [{ target_modules: "(?:q_proj|(?!.*x).*v_proj)" }, /were not compared .*target_modules .*look-around/],
    [{ target_modules: "(?!.*x).*q_proj|.*v_proj" }, /were not compared .*look-around in one of several alternatives/],
    [{ target_modules: ".*(?<=q)_proj" }, /were not compared .*look-around/],
    [{ exclude_modules: "(a)\\1" }, /were not compared .*exclude_modules .*back-reference/],
    [{ layers_to_transform: [0, 1, 2], layers_pattern: "(?=l)ayers" }, /were not compared .*layers_pattern/],
  ] as const) {
    const { summary } = await checkAdapter(await edited({ config }), llama);
    assert.equal(summary.warnings.length, 1);
    assert.match(summary.warnings[0] ?? "", warning);
  }
});

test("targets of wrong types, and layers beside an expression, are faults", async () => {
  for (const [config, fault] of [
    [{ target_modules: 7 }, /^target_modules is 7; a string or a list of strings is allowed$/],
    [{ target_modules: ["q_proj", 1] }, /^target_modules is .*; a string or a list of strings/],
    [{ exclude_modules: {} }, /^exclude_modules is \{\}; a string or a list/],
    [{ layers_to_transform: ["0"] }, /^layers_to_transform is \["0"\]; a whole number or a list of them is allowed$/],
    [{ layers_pattern: 1 }, /^layers_pattern is 1; a string or a list/],
    [
      { target_modules: ".*proj", layers_to_transform: [0] },
      /^layers_to_transform is set, and target_modules is ".*"; with it only a list/,
    ],
  ] as const) {
    const error = await refusalOf(checkAdapter(await edited({ config }), llama));
    assert.ok(
      error.faults.some((text) => fault.test(text)),
      error.faults.join("\n"),
    );
  }
});

test("expressions of targets count towards the one budget", async () => {
  const big = `(?:${"[a-z]".repeat(190)})`;
  const config = { target_modules: `.*_proj|${big}{20}`, exclude_modules: `${big}{30}` };
  const { message } = await refusalOf(checkAdapter(await edited({ config }), llama));
  assert.match(message, /too costly to compile/);
});

const turned = ({ name, dtype, shape: [rows = 0, columns = 0], data }: EditableTensor): EditableTensor => {
  const [from, into] = [new Float32Array(data.buffer as ArrayBuffer), new Float32Array(rows * columns)];
  for (const [i, value] of from.entries()) into[(i % columns) * rows + Math.floor(i / columns)] = value;
  const mlxName = name
    .replace("base_model.model.", "")
    .replace(/lora_([AB])\.weight/, (_, letter) => `lora_${letter.toLowerCase()}`);
  return { name: mlxName, dtype, shape: [columns, rows], data: new Uint8Array(into.buffer) };
};

test("mlx-lm's layers and keys are compared too", async () => {
  const of = async (more: object, parameters: object, part = /./) =>
    edited({
      config: JSON.stringify({ ...more, lora_parameters: { rank: 8, scale: 2, ...parameters } }),
      tensors: (all) => only(part)(all).map(turned),
      weightsName: "adapters.safetensors",
    });
  const warnings = async (folder: string): Promise<string> =>
    (await checkAdapter(folder, llama)).summary.warnings.join("\n");
  const keys = ["self_attn.q_proj", "self_attn.v_proj"];
  for (const [more, parameters] of [
    [{}, {}],
    [{ num_layers: -1 }, { keys }],
    [{ lora_layers: 16 }, {}],
    [{ num_layers: 3 }, { keys }],
  ] as const) {
    assert.equal(await warnings(await of(more, parameters)), "");
  }
  assert.match(await warnings(await of({ num_layers: 3 }, {}, /layers\.[12]/)), /names 2 modules .*layers\.0/);
  assert.match(await warnings(await of({}, { keys: [...keys, "mlp.up_proj"] })), /names 3 modules .*mlp\.up_proj/);
  assert.equal(await warnings(await of({ num_layers: 2 }, { keys }, /layers\.[12]/)), "");
  for (const [more, parameters] of [
    [{ num_layers: 2 }, {}],
    [{}, { keys: ["self_attn.q_proj"] }],
  ] as const) {
    const { message } = await refusalOf(checkAdapter(await of(more, parameters), llama));
    assert.match(message, /modules that the config does not name \(lora_parameters\.keys, num_layers\)/);
  }
});

test("a wrapped model's config is compared by its own names", async () => {
  const wrap = renamed((name) => name.replace("model.model.model.", "model.model.model.language_model."));
  const target = (layers: string): string => `model\\.language_model\\.layers\\.${layers}\\.self_attn\\.[qv]_proj`;
  const all = await checkAdapter(await edited({ tensors: wrap, config: { target_modules: target("\\d") } }), llama);
  assert.equal(all.summary.warnings.length, 1); // of the names alone
  const error = await refusalOf(
    checkAdapter(await edited({ tensors: wrap, config: { target_modules: target("0") } }), llama),
  );
  assert.match(error.message, /holds 4 modules that the config does not name/);
});

test("targets resolved by an earlier check are reused without evaluating expressions", async () => {
  const config = { alpha_pattern: { "layers.1.self_attn.q_proj": 4, ".*v_proj": 2 }, target_modules: ".*[qv]_proj" };
  const folder = await edited({ config });
  const { summary, modules } = await checkAdapter(folder, llama);
  assert.deepEqual(
    summary.alphas,
    modules.map(({ alpha }) => alpha),
  );
  assert.deepEqual(summary.alphas, [16, 2, 4, 2, 16, 2]);
  const expectedDigest = summary.weightsDigest;
  const limits = { maxPatternSize: 0 }; // nothing can be compiled
  await refusalOf(loadAdapter(folder, llama, { expectedDigest, limits }));
  const loaded = await loadAdapter(folder, llama, {
    expectedDigest,
    limits,
    ...(summary.alphas && { alphas: summary.alphas }),
  });
  assert.deepEqual(loaded, await loadAdapter(folder, llama));
  assert.deepEqual((await checkAdapter(valid, llama)).summary.alphas, [16]);
});

test("an adapter that an earlier release accepted loads by its digest unchanged", async () => {
  const more = { target_modules: ["q_proj"], eva_config: 7, layers_to_transform: "x" };
  const accepted = { ...more, lora_alpha: -8, alpha_pattern: { v_proj: 0 } };
  const folder = await edited({ config: accepted });
  const { message } = await refusalOf(loadAdapter(folder, llama));
  for (const fault of [/lora_alpha is -8/, /alpha_pattern\["v_proj"\] is 0/, /; and 2 more\.$/])
    assert.match(message, fault);
  const unknown = await refusalOf(loadAdapter(folder, llama, { expectedDigest: "sha256:0" }));
  assert.equal(unknown.code, "digest_mismatch");
  const loaded = await loadAdapter(folder, llama, { expectedDigest: String(unknown.found) });
  assert.equal(loaded.modules.size, 6);
});
