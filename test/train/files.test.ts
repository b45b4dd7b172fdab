/** What a run leaves on the disk: PEFT's own files, checkpoints that are complete or not there, one run for each folder, the journal. */
import assert from "node:assert/strict";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { checkAdapter } from "../../src/adapter/format.js";
import { LorikeetError } from "../../src/base/errors.js";
import { adapterHead } from "../../src/cli/eval/score-eval.js";
import { isWrapped } from "../../src/model/checkpoint/names.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { readDecoderConfig } from "../../src/model/config/read.js";
import { storedModules, targetModules } from "../../src/model/modules.js";
import { moduleInputs } from "../../src/model/training/types.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { openAdapter, saveAdapter } from "../../src/train/files/adapter-files.js";
import { Checkpoints } from "../../src/train/files/checkpoints.js";
import { mergeAdapter } from "../../src/train/files/merge.js";
import { RunFolder } from "../../src/train/files/run-folder.js";
import { writeUntiedConfig } from "../../src/train/files/untied-head.js";
import { allLinear, chooseModules, initialize, type LoraModule, peftTargetModules } from "../../src/train/lora.js";
import { chain, scaleByAdam } from "../../src/train/optimizer/optimizer.js";
import { Journal, readJournal } from "../../src/train/reports/journal.js";
import { drawTraining } from "../../src/train/reports/plot.js";
import type { Parameter } from "../../src/train/step.js";
import { initialState } from "../../src/train/trainer.js";
import { largestDifference, readExpected } from "../support/oracle.js";
import { openModel } from "../support/served-model.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-files-"));
after(() => rmSync(folder, { recursive: true }));
let folders = 0;
const fresh = (): string => join(folder, String(++folders));

const oracle = "test/fixtures/oracle";
const families = readdirSync(oracle).filter((family) => existsSync(join(oracle, family, "train", "initial")));

function parametersOf(modules: readonly LoraModule[]): Parameter[] {
  return modules.flatMap(({ path, rank, inFeatures, outFeatures }) => {
    const make = (name: string, shape: number[]): Parameter => {
      const count = shape.reduce((a, b) => a * b, 1);
      return { name, shape, offset: 0, data: new Float32Array(count), gradient: new Float32Array(count) };
    };
    const { a, b } = moduleInputs(path);
    return [make(a, [inFeatures, rank]), make(b, [rank, outFeatures])];
  });
}

test("there are families to compare with", () => assert.ok(families.length >= 2, families.join(", ")));

for (const family of families) {
  test(`${family}: weights are PEFT's byte for byte, the config is a part of PEFT's`, async () => {
    const peft = join(oracle, family, "train", "initial");
    const { config } = await openCheckpoint(join(oracle, family));
    const theirs = JSON.parse(readFileSync(join(peft, "adapter_config.json"), "utf8"));
    const shape = { rank: theirs.r, alpha: theirs.lora_alpha, rslora: false };
    const modules = chooseModules(config, [allLinear], shape);
    const parameters = parametersOf(modules);
    await (await openAdapter(peft, config)).readInto(parameters);
    const out = fresh();
    const facts = {
      shape,
      modules,
      targetModules: peftTargetModules(config, [allLinear], modules),
      dropout: 0,
      dora: false,
    };
    await saveAdapter(
      out,
      { ...facts, baseModelName: family, fanInFanOut: family === "gpt2", labels: null },
      parameters,
    );
    const bytes = (path: string): Buffer => readFileSync(join(path, "adapter_model.safetensors"));
    assert.ok(bytes(out).equals(bytes(peft)), "adapter_model.safetensors");
    const ours = JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"));
    for (const [key, value] of Object.entries(ours)) {
      // The oracle's B was drawn, not zero, which PEFT notes as false; both load the same.
      if (key === "init_lora_weights") continue;
      // PEFT counts the other models of the checkpoint, too. The full paths that we write exclude them.
      if (key === "target_modules" && isWrapped(config.family)) continue;
      const expected = key === "target_modules" ? [...theirs[key]].sort() : theirs[key];
      assert.deepEqual(value, expected, key);
    }
    await checkAdapter(out, targetModules(config));
  });
}

test("A starts uniform within 1/sqrt(in), B at zero; the same seed gives the same numbers", async () => {
  const { config } = await openCheckpoint(join(oracle, "llama"));
  const parameters = parametersOf(chooseModules(config, [allLinear], { rank: 8, alpha: 8, rslora: false }));
  initialize(parameters, 42);
  for (const { name, shape, data } of parameters) {
    const most = data.reduce((top, x) => Math.max(top, Math.abs(x)), 0);
    if (name.endsWith("lora_B")) assert.equal(most, 0);
    else assert.ok(most <= 1 / Math.sqrt(shape[0] ?? 1) && most > 0.95 / Math.sqrt(shape[0] ?? 1), name);
  }
  const before = parameters.map(({ data }) => data.slice());
  initialize(parameters, 42);
  assert.deepEqual(
    parameters.map(({ data }) => data),
    before,
  );
  assert.notDeepEqual(before[0], before[2]);
  initialize(parameters, 43);
  assert.notDeepEqual(parameters[0]?.data, before[0]);
});

test("targets are names or paths; one that matches no layer is refused with a list of layers", async () => {
  const { config } = await openCheckpoint(join(oracle, "llama"));
  const shape = { rank: 2, alpha: 2, rslora: true };
  const two = chooseModules(config, ["q_proj", "model.layers.1.mlp.up_proj"], shape);
  assert.equal(two.length, config.layerCount + 1);
  assert.ok(Math.abs((two[0]?.scale ?? 0) - Math.SQRT2) < 1e-12);
  assert.throws(
    () => chooseModules(config, ["q_proj", "query"], shape),
    (error) => error instanceof LorikeetError && /query.*down_proj/.test(error.message),
  );
});

function checkpointsIn(path: string, values: Float32Array, keep = 3) {
  const optimizer = chain(values.length, scaleByAdam());
  const checkpoints = new Checkpoints({
    folder: path,
    keep,
    optimizer,
    save: async (to) => writeFileSync(join(to, "values"), values),
    load: async (from) => values.set(new Float32Array(new Uint8Array(readFileSync(join(from, "values"))).buffer)),
  });
  return { checkpoints, optimizer };
}

test("the last checkpoints and the best are kept, a half-written one is ignored, and parameters and optimizer are restored", async () => {
  const path = fresh();
  const values = Float32Array.of(1, 2, 3);
  const { checkpoints, optimizer } = checkpointsIn(path, values);
  for (let step = 0; step <= 60; step += 10) {
    optimizer.step(values, Float32Array.of(0.1, -0.2, 0.3), step);
    await checkpoints.save({ ...initialState(), step, best: { step: Math.min(step, 20), loss: 1 } });
  }
  assert.deepEqual(await checkpoints.steps(), [20, 40, 50, 60]);
  mkdirSync(join(path, "draft-70"));
  const again = Float32Array.of(0, 0, 0);
  const other = checkpointsIn(path, again);
  const state = await other.checkpoints.resume();
  assert.deepEqual([state?.step, state?.best?.step], [60, 20]);
  assert.deepEqual(again, values);
  const numbers = (pieces: typeof optimizer.state): unknown => pieces.map((piece) => piece.state);
  assert.deepEqual(numbers(other.optimizer.state), numbers(optimizer.state));
  assert.equal(await checkpointsIn(fresh(), again).checkpoints.resume(), null);
});

test("a checkpoint of another version is refused with the folder of its weights, and so is a damaged one", async () => {
  const path = fresh();
  const values = Float32Array.of(1);
  const { checkpoints } = checkpointsIn(path, values);
  const saved = await checkpoints.save({ ...initialState(), step: 7 });
  const file = join(saved, "state.json");
  const { format, ...old } = JSON.parse(readFileSync(file, "utf8"));
  assert.equal(typeof format, "number");
  writeFileSync(file, JSON.stringify({ ...old, startLoss: 1, above: 0 }));
  await assert.rejects(checkpoints.resume(), (error) => {
    assert.ok(error instanceof LorikeetError && error.message.includes(saved), `${error}`);
    return /another version.*--overwrite/.test(error.message);
  });
  for (const damaged of ["{", "[]", "null", ""]) {
    writeFileSync(file, damaged);
    await assert.rejects(checkpoints.resume(), /is not the state of a run/);
  }
});

test("a checkpoint that cannot be written leaves the earlier ones", async () => {
  const path = fresh();
  const values = Float32Array.of(1);
  await checkpointsIn(path, values).checkpoints.save({ ...initialState(), step: 1 });
  const full = new Checkpoints({
    folder: path,
    keep: 1,
    optimizer: chain(1),
    save: async () => {
      throw Object.assign(new Error("no space left"), { code: "ENOSPC" });
    },
    load: async () => {},
  });
  await assert.rejects(full.save({ ...initialState(), step: 2 }), /no space/);
  assert.deepEqual(readdirSync(path), ["step-0000001"]);
});

test("a folder has one run at a time, nothing is replaced unasked, and the result appears complete", async () => {
  const out = join(fresh(), "plays");
  mkdirSync(join(out, ".."), { recursive: true });
  const run = new RunFolder(out);
  const isConflict = (error: unknown): boolean => error instanceof LorikeetError && error.code === "conflict";
  await assert.rejects(run.check("resume"), isConflict);
  await run.locked(async () => {
    await assert.rejects(
      new RunFolder(out).locked(async () => {}),
      isConflict,
    );
    await run.check("fresh");
    await run.start("fresh", { rank: 4 });
    writeFileSync(join(run.path, "file"), "one");
    writeFileSync(join(run.path, "lorikeet.json"), "{}");
  });
  assert.deepEqual(await new RunFolder(out).recall(), { rank: 4 });
  await assert.rejects(run.check("fresh"), isConflict, "an unfinished run");
  await run.locked(async () => {
    await run.check("resume");
    await run.start("resume", { rank: 4 });
    assert.ok(!existsSync(out));
    await run.finish();
  });
  assert.equal(readFileSync(join(out, "file"), "utf8"), "one");
  assert.equal(await run.recall(), null);
  await assert.rejects(run.check("fresh"), isConflict, "a result");
  assert.deepEqual(readdirSync(join(out, "..")), ["plays"], "nothing else is left of a run that has ended");
  await run.locked(async () => {
    await run.check("overwrite");
    await run.start("overwrite", {});
    writeFileSync(join(run.path, "file"), "two");
    await run.finish();
  });
  assert.equal(readFileSync(join(out, "file"), "utf8"), "two");
  const never = join(fresh(), "deep", "never");
  await assert.rejects(
    new RunFolder(never).locked(() => Promise.reject(new Error("refused"))),
    /refused/,
  );
  assert.ok(!existsSync(join(never, "..", "..")), "nor of one that never began");
});

test("the journal of an earlier version is read and kept with its learning rates", async () => {
  const path = fresh();
  const numbers = { step: 1, loss: 2, gradient_norm: 1, tokens: 1, seconds: 1 };
  writeFileSync(path, `${JSON.stringify({ ...numbers, rate: 0.5 })}\n`);
  await (await Journal.open(path, { step: 1, validatedAt: -1 }))[Symbol.asyncDispose]();
  assert.deepEqual(await readJournal(path), [{ ...numbers, learning_rate: 0.5 }]);
  assert.doesNotMatch(readFileSync(path, "utf8"), /"rate"/);
  assert.match(drawTraining(await readJournal(path)), />0\.5</);
});

test("the journal drops repeated steps and a line truncated by a crash", async () => {
  const path = fresh();
  const row = (step: number) => ({ step, loss: 1, learning_rate: 1, gradient_norm: 1, tokens: 1, seconds: 1 });
  {
    await using journal = await Journal.open(path, { step: 0, validatedAt: -1 });
    for (const step of [1, 2, 3]) await journal.add(row(step));
    await journal.add({ step: 3, validation_loss: 2 });
  }
  appendFileSync(path, '{"step":4,"lo');
  assert.equal((await readJournal(path)).length, 4);
  await (await Journal.open(path, { step: 3, validatedAt: 0 }))[Symbol.asyncDispose]();
  assert.deepEqual(
    (await readJournal(path)).map(({ step }) => step),
    [1, 2, 3],
    "that validation is done anew",
  );
  const svg = drawTraining([...(await readJournal(path)), { step: 3, validation_loss: 2 }]);
  assert.ok(svg.startsWith("<svg") && !svg.includes("NaN"));
  assert.ok(!drawTraining([]).includes("NaN"));
  const themed = [...svg.matchAll(/^.*prefers-color-scheme: dark[\s\S]*?<\/style>/gm)].join("");
  const colours = new Set([...svg.matchAll(/ (?:fill|stroke)="(#\w+|black)"/g)].map(([, colour]) => String(colour)));
  assert.ok(colours.size >= 4);
  for (const colour of colours) assert.ok(themed.includes(`"${colour}"`), `${colour} has a colour for dark pages`);
  const long = [8.1, 3.3, 0.4].map((loss, i) => ({ ...row(1 + 50 * i), loss }));
  const numbers = [...drawTraining(long).matchAll(/>([\d.]+)<\/text>/g)].map(([, text]) => Number(text));
  assert.deepEqual(
    numbers,
    [0, 2, 4, 6, 8, 10, 0, 50, 100, 0, 0.5, 1, 0, 50, 100],
    "round numbers on both axes of losses and rates",
  );
});

test("a merged checkpoint contains W + s B A, in either layout, and every other tensor unchanged", async () => {
  for (const family of families.filter((name) => ["llama", "gpt2"].includes(name))) {
    const checkpoint = await openCheckpoint(join(oracle, family));
    const peft = join(oracle, family, "train", "initial");
    const out = fresh();
    const { changed } = await mergeAdapter({ checkpoint, adapter: peft, out, dtype: "same", overwrite: false });
    const merged = await openCheckpoint(out);
    const opened = await openAdapter(peft, checkpoint.config);
    const parameters = parametersOf(opened.modules);
    await opened.readInto(parameters);
    assert.equal(changed, opened.modules.length);
    const read = ({ tensors }: typeof merged, name: string): Float32Array => {
      const place = tensors.get(name);
      assert.ok(place);
      const bytes = readFileSync(place.file).subarray(place.offset, place.offset + place.byteLength);
      return new Float32Array(new Uint8Array(bytes).buffer);
    };
    for (const [i, { path, rank, inFeatures, outFeatures, scale }] of opened.modules.entries()) {
      const [a, b] = [parameters[2 * i]?.data as Float32Array, parameters[2 * i + 1]?.data as Float32Array];
      const [before, after] = [read(checkpoint, `${path}.weight`), read(merged, `${path}.weight`)];
      for (const [n, k] of [
        [0, 0],
        [1, 2],
        [outFeatures - 1, inFeatures - 1],
      ] as const) {
        const at = family === "gpt2" ? k * outFeatures + n : n * inFeatures + k;
        let delta = 0;
        for (let r = 0; r < rank; r++)
          delta += scale * (a[k * rank + r] as number) * (b[r * outFeatures + n] as number);
        assert.ok(Math.abs((after[at] as number) - (before[at] as number) - delta) < 1e-6, `${path} [${n}, ${k}]`);
      }
    }
    const adapted = new Set(opened.modules.map(({ path }) => `${path}.weight`));
    for (const name of checkpoint.tensors.keys()) {
      if (!adapted.has(name)) assert.deepEqual(read(merged, name), read(checkpoint, name));
    }
    await assert.rejects(
      mergeAdapter({ checkpoint, adapter: peft, out, dtype: "same", overwrite: false }),
      /--overwrite/,
    );
  }
});

test("merging an adapter of a tied head, of its embeddings or of rows of one gives the head weights of its own, and PyTorch's logits", async () => {
  const checkpoint = await openCheckpoint(join(oracle, "smollm3"));
  const replacing = ["tokens-tied", "tokens-tied-head", "tokens-tied-apart"];
  for (const name of ["head-tied", "head-tied-dora", "both-tied", "embedding-tied", ...replacing]) {
    const adapter = join("test/fixtures/adapter-format", name);
    const continued = openAdapter(adapter, checkpoint.config);
    if (/tokens/.test(name)) await assert.rejects(continued, /replaces rows of the embeddings .*does not continue/);
    else if (/both|embedding/.test(name))
      await assert.rejects(continued, /adapts the embeddings, which training does not continue/);
    else assert.equal((await continued).modules.at(-1)?.path, "lm_head");
    const out = fresh();
    await mergeAdapter({ checkpoint, adapter, out, dtype: "fp32", overwrite: false });
    const isTied = name === "tokens-tied"; // the same rows of both
    assert.equal(JSON.parse(readFileSync(join(out, "config.json"), "utf8")).tie_word_embeddings, isTied);
    const model = await openModel(out);
    const expected = await readExpected(adapter);
    const logits = await model.prefill(0, expected.inputIds, [24], null);
    const difference = largestDifference(logits, expected.logits);
    assert.ok(difference <= 1e-4, `${name}: logits differ by ${difference}`);
    model.runner[Symbol.dispose]();
  }
});

for (const [family, name, refusal] of [
  ["gpt2", "biases-all", /biases \(bias or lora_bias\)/],
  ["gemma2", "norms", /replaces normalizations \(modules_to_save\)/],
] as const) {
  test(`merging ${name} moves the biases and normalizations of ${family}, and gives PyTorch's logits`, async () => {
    const checkpoint = await openCheckpoint(join(oracle, family));
    const adapter = join("test/fixtures/adapter-format", name);
    await assert.rejects(openAdapter(adapter, checkpoint.config, storedModules(checkpoint)), refusal);
    assert.equal(await adapterHead(adapter, { checkpoint }), null);
    const out = fresh();
    await mergeAdapter({ checkpoint, adapter, out, dtype: "fp32", overwrite: false });
    const model = await openModel(out);
    const expected = await readExpected(adapter);
    const difference = largestDifference(await model.prefill(0, expected.inputIds, [24], null), expected.logits);
    assert.ok(difference <= 1e-4, `logits differ by ${difference}`);
    model.runner[Symbol.dispose]();
  });
}

test("a family that nests its config or spells tying its own way unties there, too", async () => {
  for (const family of ["gemma3", "lfm2"]) {
    const json = JSON.parse(readFileSync(join(oracle, family, "config.json"), "utf8"));
    const config = family === "lfm2" ? { ...json, tie_embedding: true } : json;
    const out = fresh();
    mkdirSync(out);
    writeFileSync(join(out, "config.json"), JSON.stringify(config));
    await writeUntiedConfig(out, readDecoderConfig(config));
    const untied = JSON.parse(readFileSync(join(out, "config.json"), "utf8"));
    assert.equal(readDecoderConfig(untied).head.tied, false, family);
    assert.equal((untied.text_config ?? untied).tie_word_embeddings, false);
  }
});

test("an adapter with biases on lora_B is neither continued nor merged into a base without biases", async () => {
  const checkpoint = await openCheckpoint(join(oracle, "llama"));
  const adapter = "test/fixtures/adapter-format/lora-bias";
  const expected = { code: "adapter_unsupported", message: /biases (\(bias or|on lora_B \()/ };
  await assert.rejects(openAdapter(adapter, checkpoint.config), expected);
  await assert.rejects(mergeAdapter({ checkpoint, adapter, out: fresh(), dtype: "same", overwrite: false }), expected);
});

test("a lock of another machine says how to remove it if its holder is dead", async () => {
  const home = fresh();
  const lock = join(home, ".training", "a", "lock");
  mkdirSync(join(lock, "1"), { recursive: true });
  writeFileSync(join(lock, "1", "owner"), "0123456789ab.1.1.01234567"); // a place that is not this machine's
  await assert.rejects(
    new RunFolder(join(home, "a")).locked(async () => {}),
    (error) => error instanceof LorikeetError && error.message.endsWith(`If it is gone, delete ${lock}.`),
  );
  rmSync(lock, { recursive: true });
  assert.equal(await new RunFolder(join(home, "a")).locked(async () => 1), 1);
});

test("a checkpoint with other models beside the decoder keeps them, and target modules are full paths", async () => {
  const base = join(oracle, "gemma3");
  const checkpoint = await openCheckpoint(base);
  const out = fresh();
  const adapter = join(base, "adapters", "all-r4-rslora");
  await mergeAdapter({ checkpoint, adapter, out, dtype: "fp32", overwrite: false });
  await using before = await SafetensorsFile.open(join(base, "model.safetensors"));
  await using after = await SafetensorsFile.open(join(out, "model.safetensors"));
  assert.equal(after.tensors.size, before.tensors.size);
  const others = [...before.tensors.keys()].filter((name) => /^(vision_tower|multi_modal_projector)/.test(name));
  assert.ok(others.length > 20);
  for (const name of others) assert.deepEqual(await after.read(name), await before.read(name), name);
  assert.deepEqual((await openCheckpoint(out)).config, { ...checkpoint.config, torchDtype: "float32" });
  // `q_proj` alone would name modules of the vision tower too.
  const shape = { rank: 4, alpha: 8, rslora: false };
  const modules = chooseModules(checkpoint.config, ["q_proj"], shape);
  const paths = [0, 1, 2].map((layer) => `model.language_model.layers.${layer}.self_attn.q_proj`);
  assert.deepEqual(peftTargetModules(checkpoint.config, ["q_proj"], modules), paths);
});
