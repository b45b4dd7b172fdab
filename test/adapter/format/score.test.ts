/** The classification head that PEFT saves with adapters of classifiers, over a decoder. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkAdapter, loadAdapter } from "../../../src/adapter/format.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { baseModules } from "../../../src/model/modules.js";
import { type EditableTensor, edited, oracle, refusalOf, renamed } from "./helpers.js";

const source = "test/fixtures/decoder-heads/adapters/three";
const head = "base_model.model.score.weight";
const { config } = await openCheckpoint(`${oracle}/llama`);
const modules = baseModules(config);

const reshaped =
  (shape: readonly number[]) =>
  (all: EditableTensor[]): EditableTensor[] =>
    all.map((tensor) =>
      tensor.name === head
        ? { ...tensor, shape, data: new Uint8Array(4 * shape.reduce((product, size) => product * size, 1)).fill(60) }
        : tensor,
    );

describe("a classification head", () => {
  test("is loaded whole with its names, and counts in bytes and digest", async () => {
    const { summary, saved } = await checkAdapter(source, modules);
    assert.deepEqual(
      saved.map(({ path }) => path),
      ["score"],
    );
    assert.deepEqual(summary.warnings, []);
    const loaded = await loadAdapter(source, modules);
    assert.deepEqual([loaded.head?.outFeatures, loaded.head?.labels], [3, ["bad", "fair", "good"]]);
    assert.equal(loaded.bytes, summary.bytes, "the bytes that were announced");
    assert.equal(loaded.digest, summary.weightsDigest);
    const unnamed = await checkAdapter(await edited({ source }), modules);
    assert.notEqual(unnamed.summary.weightsDigest, summary.weightsDigest, "names are part of it");
    assert.match(
      unnamed.summary.warnings.join(),
      /answers say LABEL_0 to LABEL_2; put labels\.json, a list of the names, into its folder/,
    );
    const scored = await checkAdapter(await edited({ source, tensors: reshaped([1, 64]) }), modules);
    assert.deepEqual(scored.summary.warnings, [], "a single output is a score");
    const other = await edited({
      source,
      tensors: reshaped([3, 64]),
      files: { "labels.json": '["bad", "fair", "good"]' },
    });
    assert.notEqual((await checkAdapter(other, modules)).summary.weightsDigest, summary.weightsDigest);
  });

  test("may have any number of labels, and none other than the base's inputs", async () => {
    const seven = await checkAdapter(await edited({ source, tensors: reshaped([7, 64]) }), modules);
    assert.deepEqual(
      seven.saved.map(({ path, outFeatures }) => [path, outFeatures]),
      [["score", 7]],
    );
    const narrow = await refusalOf(checkAdapter(await edited({ source, tensors: reshaped([3, 32]) }), modules));
    assert.match(narrow.message, /score\.weight" has shape \[3, 32\]; \[3, 64\] is allowed for score/);
    const two = await refusalOf(
      checkAdapter(await edited({ source, files: { "labels.json": '["bad", "good"]' } }), modules),
    );
    assert.match(two.message, /labels\.json names 2 labels, but the head has 3 outputs/);
  });

  test("other modules that are saved whole, and LoRA on it, are refused by name", async () => {
    const classifier = await edited({ source, tensors: renamed((name) => name.replace(".score.", ".classifier.")) });
    assert.match(
      (await refusalOf(checkAdapter(classifier, modules))).message,
      /replaces the module classifier, which this base, a language model, does not have/,
    );
    const adapted = (all: EditableTensor[]): EditableTensor[] =>
      all.flatMap((tensor) => {
        if (tensor.name !== head) return [tensor];
        const of = (part: string, shape: readonly number[]): EditableTensor => ({
          ...{ name: `base_model.model.score.${part}.weight`, dtype: "F32", shape },
          data: new Uint8Array(4 * (shape[0] ?? 0) * (shape[1] ?? 0)).fill(60),
        });
        return [of("lora_A", [4, 64]), of("lora_B", [3, 4])];
      });
    const refused = await refusalOf(checkAdapter(await edited({ source, tensors: adapted }), modules));
    assert.match(refused.message, /adapts the classification head; save it whole, in modules_to_save/);
  });
});
