/** Trained rows of single tokens (`trainable_token_indices`): what PEFT computes otherwise, or not at all, is refused by name. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { composeMixture } from "../../../src/adapter/cache/compose.js";
import { checkAdapter, describeAdapter, loadAdapter } from "../../../src/adapter/format.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { storedModules } from "../../../src/model/modules.js";
import { taskTargetsOf } from "../../../src/model/task/adapter-targets.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import { viewAs } from "../../../src/tensor/dtype.js";
import { bfloat16ToFloat32 } from "../../../src/tensor/half.js";
import { taskRoot } from "../../support/task-models.js";
import { type Edit, type EditableTensor, edited, oracle, refusalOf, renamed } from "./helpers.js";

const llama = storedModules(await openCheckpoint(`${oracle}/llama`));
const tied = storedModules(await openCheckpoint(`${oracle}/smollm3`));
const fixture = (name: string): string => join("test/fixtures/adapter-format", name);

const floats = (name: string, shape: readonly number[]) => (all: EditableTensor[]) => {
  const data = new Uint8Array(4 * shape.reduce((product, size) => product * size, 1));
  return [...all, { name: `base_model.model.${name}`, dtype: "F32" as const, shape, data }];
};
const drop = (part: string) => (all: EditableTensor[]) => all.filter(({ name }) => !name.includes(part));
const embeddings = [246, 129, 249, 175, 73, 75];
const ids = (own: unknown): Edit => ({ config: { trainable_token_indices: own } });

const refused: [what: string, Edit, RegExp][] = [
  ["no ids", ids(null), /trainable_tokens_delta" holds rows of tokens, and trainable_token_indices has no list of ids/],
  ["an empty list", ids([]), /has no list of ids for it/],
  ["no ids of the head", ids({ embed_tokens: embeddings }), /lm_head.* has no list of ids for it/],
  [
    "two lists",
    ids({ embed_tokens: embeddings, tokens: embeddings, lm_head: [300, 7, 41] }),
    /has 2 lists of ids for it/,
  ],
  ["rows that the file lacks", { tensors: drop("lm_head") }, /names "lm_head", but the file holds no such rows/],
  [
    "other ids than rows",
    ids({ embed_tokens: [1], lm_head: [300, 7, 41] }),
    /has shape \[6, 64\]; \[1, 64\] is allowed, for the 1 token/,
  ],
  [
    "a token beyond the base's",
    ids({ embed_tokens: embeddings, lm_head: [320, 7, 41] }),
    /names the token 320, and lm_head of this base has 320 tokens/,
  ],
  ["a token twice", ids({ embed_tokens: embeddings, lm_head: [7, 41, 7] }), /\["lm_head"\] names the token 7 twice/],
  ["a negative id", ids([-1]), /trainable_token_indices is \[-1\]; a list of whole numbers, none below 0/],
  ["no list", ids("embed_tokens"), /trainable_token_indices is "embed_tokens"; a list of whole numbers/],
  [
    "rows of another layer",
    { tensors: renamed((name) => name.replace("lm_head", "model.layers.0.mlp.up_proj")) },
    /holds rows of neither the embeddings nor the head/,
  ],
  [
    "LoRA on the same embeddings",
    {
      tensors: (all) =>
        floats(
          "model.embed_tokens.lora_embedding_B",
          [64, 2],
        )(floats("model.embed_tokens.lora_embedding_A", [2, 320])(all)),
    },
    /model\.embed_tokens is adapted by LoRA, and trainable_token_indices trains rows of it/,
  ],
  [
    "NaN",
    {
      tensors: (all) => {
        const tensor = all.find(({ name }) => name.includes("lm_head"));
        if (tensor) new Float32Array(tensor.data.buffer as ArrayBuffer)[5] = Number.NaN;
        return all;
      },
    },
    /trainable_tokens_delta" holds NaN/,
  ],
];

for (const [what, edit, wanted] of refused) {
  test(`trained rows with ${what} are refused`, async () => {
    const error = await refusalOf(loadAdapter(await edited({ source: fixture("tokens"), ...edit }), llama));
    assert.match(error.message, wanted);
  });
}

test("trained rows are refused where PEFT leaves a head's bias out, over learned positions and a decomposed head", async () => {
  const phi = storedModules(await openCheckpoint(`${oracle}/phi`));
  assert.match(
    (await refusalOf(checkAdapter(fixture("tokens"), phi))).message,
    /lm_head, which has a bias that PEFT leaves out until the adapter is merged/,
  );
  const gpt2 = storedModules(await openCheckpoint(`${oracle}/gpt2`));
  const positions = await edited({
    source: fixture("tokens"),
    tensors: renamed((name) => name.replace("model.embed_tokens", "transformer.wpe")),
  });
  assert.match((await refusalOf(checkAdapter(positions, gpt2))).message, /rows of the learned positions/);
  const decomposed = await edited({
    source: fixture("head-tied-dora"),
    config: { trainable_token_indices: [3] },
    tensors: floats("model.embed_tokens.token_adapter.trainable_tokens_delta", [1, 64]),
  });
  assert.match((await refusalOf(checkAdapter(decomposed, tied))).message, /lm_head is weight-decomposed \(use_dora\)/);
});

test("a list given for tied tables by both names is one; other ids of a head make it their own", async () => {
  const list = Array.from((await loadAdapter(fixture("tokens-tied-head"), tied)).tokens ?? [], ({ ids }) => [...ids]);
  const named = { embed_tokens: [...(list[0] ?? [])], lm_head: [...(list[0] ?? [])] };
  const both = await edited({ source: fixture("tokens-tied-head"), ...ids(named) });
  const [rows] = (await loadAdapter(both, tied)).tokens ?? [];
  assert.deepEqual([rows?.inEmbeddings, rows?.inHead], [true, true]);
  const apart = (await loadAdapter(fixture("tokens-tied-apart"), tied)).tokens ?? [];
  assert.deepEqual(
    apart.map(({ inEmbeddings, inHead }) => [inEmbeddings, inHead]),
    [
      [false, true],
      [true, false],
    ],
  );
});

test("the digest covers ids and rows, with a base or without; the sizes in use cover the rows of heads; inspect shows them", async () => {
  const { summary, tokens } = await describeAdapter(fixture("tokens"), llama);
  assert.deepEqual(tokens, [
    { path: "lm_head", tokens: 3, isTied: false },
    { path: "model.embed_tokens", tokens: 6, isTied: false },
  ]);
  assert.equal((await describeAdapter(fixture("tokens"), null)).summary.weightsDigest, summary.weightsDigest);
  const other = await edited({
    source: fixture("tokens"),
    ...ids({ embed_tokens: embeddings, lm_head: [301, 7, 41] }),
  });
  assert.notEqual((await checkAdapter(other, llama)).summary.weightsDigest, summary.weightsDigest);
  const loaded = await loadAdapter(fixture("tokens"), llama);
  assert.equal(loaded.bytes, summary.bytes);
  const bare = await edited({ source: fixture("tokens"), tensors: drop("token_adapter"), ...ids(null) });
  assert.equal(summary.activeBytes - (await checkAdapter(bare, llama)).summary.activeBytes, 4 * (16 * 64 + 3));
  const parts = [{ adapter: loaded, weight: 1, label: "The adapter `a`" }];
  assert.match((await refusalOf(composeMixture("d", parts))).message, /replaces rows of the embeddings/);
});

/** The tables of smollm3 with rows replaced, as `modules_to_save` has them. */
const tables =
  (rows: readonly (readonly [name: string, ids: readonly number[], source: string])[]) => (all: EditableTensor[]) => {
    const place = tied.find(({ role }) => role === "embedding")?.stored ?? assert.fail();
    const stored = Uint8Array.from(readFileSync(place.file).subarray(place.offset, place.offset + place.byteLength));
    const floats = place.dtype === "F32" ? viewAs("F32", stored) : bfloat16ToFloat32(viewAs("BF16", stored));
    const base = new Uint8Array(floats.buffer as ArrayBuffer);
    const whole = rows.map(([name, tokens, source]): EditableTensor => {
      const data = Uint8Array.from(base);
      const own = all.find((tensor) => tensor.name.includes(source))?.data ?? assert.fail();
      for (const [i, id] of tokens.entries()) data.set(own.subarray(i * 256, (i + 1) * 256), id * 256);
      return { name: `base_model.model.${name}.weight`, dtype: "F32", shape: place.shape, data };
    });
    return [...all.filter(({ name }) => !name.includes("token_adapter")), ...whole];
  };

test("embeddings and heads in modules_to_save are rows of all tokens that differ from the base's", async () => {
  const source = fixture("tokens-tied-apart");
  const { trainable_token_indices: own } = JSON.parse(readFileSync(join(source, "adapter_config.json"), "utf8"));
  const [rows, head] = [
    ["model.embed_tokens", own.embed_tokens, "embed_tokens"],
    ["lm_head", own.lm_head, "lm_head"],
  ] as const;
  const config = (saved: readonly string[], ensured = false) => {
    return { trainable_token_indices: null, modules_to_save: saved, ensure_weight_tying: ensured };
  };
  const both = await edited({ source, config: config(["embed_tokens", "lm_head"]), tensors: tables([rows, head]) });
  const loaded = await loadAdapter(both, tied);
  assert.deepEqual(loaded.tokens, (await loadAdapter(source, tied)).tokens);
  const { summary } = await checkAdapter(both, tied);
  const again = await loadAdapter(both, tied, { expectedDigest: summary.weightsDigest });
  assert.deepEqual(again.tokens, loaded.tokens);
  assert.ok(loaded.bytes < summary.bytes, "what equals the base takes no memory");
  // The head that PEFT ties to saved embeddings is in the file as well, with the same weights.
  const same = ["lm_head", own.embed_tokens, "embed_tokens"] as const;
  const ensured = await edited({ source, config: config(["embed_tokens"], true), tensors: tables([rows, same]) });
  const ensuredTokens = (await loadAdapter(ensured, tied)).tokens ?? [];
  assert.deepEqual(
    ensuredTokens.map(({ ids: of }) => [...of]),
    [rows[1], rows[1]].map((of) => [...of].sort((a, b) => a - b)),
  );
  const apart = await edited({ source, config: config(["embed_tokens"], true), tensors: tables([rows, head]) });
  assert.match(
    (await refusalOf(checkAdapter(apart, tied))).message,
    /one parameter \(ensure_weight_tying\), but they differ/,
  );
  const adapted = await edited({
    source: fixture("head-tied"),
    config: config(["lm_head"]),
    tensors: (all) => [...all, ...tables([["lm_head", [0], "q_proj.lora_A"]])(all).slice(-1)],
  });
  assert.match((await refusalOf(checkAdapter(adapted, tied))).message, /lm_head is saved whole, and adapted as well/);
});

test("rows of a table that a task model's head may share are refused", async () => {
  const bert = taskTargetsOf((await openTaskModel(join(taskRoot, "bert-sequence-classification"))).modules);
  const head = bert.find(({ isOutput }) => isOutput) ?? assert.fail();
  const table = bert.find(({ path }) => path.endsWith("word_embeddings")) ?? assert.fail();
  const masked = [...bert, { ...head, path: "cls.predictions.decoder", inFeatures: 32, outFeatures: table.inFeatures }];
  const folder = join(taskRoot, "bert-sequence-classification/adapters/tokens");
  const error = await refusalOf(checkAdapter(folder, { targets: masked }));
  assert.match(error.message, /word_embeddings, which cls\.predictions\.decoder may share; PEFT then trains both/);
});
