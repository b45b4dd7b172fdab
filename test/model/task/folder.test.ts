/** Which files make a task model, and which task it has, in each layout that exporters write. */

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { isTaskModel, openTaskFolder } from "../../../src/model/task/folder.js";
import { taskOf } from "../../../src/model/task/tasks.js";
import { taskModels, taskRoot } from "../../support/task-models.js";

const temporary = mkdtempSync(join(tmpdir(), "lorikeet-folder-"));
after(() => rmSync(temporary, { recursive: true }));

/** A folder with empty files of these names; config.json holds `config`. */
function folderOf(name: string, files: readonly string[], config: object | null = null): string {
  const folder = join(temporary, name);
  mkdirSync(folder);
  for (const file of files) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), "");
  }
  if (config) writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}

test("the task of each model follows from its config.json", async () => {
  const tasks = await Promise.all(taskModels.map(async (model) => (await openTaskFolder(join(taskRoot, model))).task));
  assert.deepEqual(Object.fromEntries(taskModels.map((model, index) => [model, tasks[index]])), {
    "bert-embeddings": "feature-extraction",
    "bert-sequence-classification": "text-classification",
    efficientnet: "image-classification",
    marian: "translation",
    "policy-mlp": "tensors",
    resnet: "image-classification",
    yolos: "object-detection",
  });
  assert.deepEqual(taskOf({ architectures: ["T5ForConditionalGeneration"] }, false).task, "text2text-generation");
  assert.deepEqual(
    taskOf({ architectures: ["WhisperForConditionalGeneration"] }, false).task,
    "automatic-speech-recognition",
  );
  assert.deepEqual(taskOf({ architecture: "resnet18", num_classes: 0 }, false).task, "feature-extraction");
  assert.deepEqual(taskOf({ architectures: 7 }, false), { task: "tensors", architecture: null });
});

test("each layout gives its files, and files of other precisions are left out", async () => {
  const rolesOf = async (folder: string) =>
    Object.fromEntries((await openTaskFolder(folder)).files.map(({ role, label }) => [role, label]));
  const hub = folderOf("hub", ["onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/model_fp16.onnx"]);
  assert.deepEqual(await rolesOf(hub), { whole: "onnx/model.onnx" });
  assert.deepEqual((await openTaskFolder(hub)).otherFiles, ["onnx/model_fp16.onnx", "onnx/model_quantized.onnx"]);
  assert.deepEqual(await rolesOf(folderOf("flat", ["model.onnx"])), { whole: "model.onnx" });
  assert.deepEqual(await rolesOf(folderOf("only", ["silero.onnx"])), { whole: "silero.onnx" });
  const parts = ["encoder_model", "decoder_model", "decoder_with_past_model"].map((name) => `${name}.onnx`);
  assert.deepEqual(await rolesOf(folderOf("separate", parts)), {
    ...{ encoder: parts[0], decoder: parts[1], "decoder-with-past": parts[2] },
  });
  assert.deepEqual(await rolesOf(folderOf("merged", [...parts, "decoder_model_merged.onnx"])), {
    ...{ encoder: parts[0], "merged-decoder": "decoder_model_merged.onnx" },
  });
  await assert.rejects(
    openTaskFolder(folderOf("two", ["a.onnx", "b.onnx"])),
    /holds a.onnx, b.onnx; model.onnx is expected, or --onnx-file a.onnx or --onnx-file b.onnx\.$/,
  );
  await assert.rejects(openTaskFolder(join(temporary, "none")), /does not exist/);
});

test("a part of an encoder-decoder, named by its path, brings those of its precision", async () => {
  const named = (suffix: string) =>
    ["encoder_model", "decoder_model_merged"].map((stem) => `onnx/${stem}${suffix}.onnx`);
  const config = { architectures: ["MarianMTModel"] };
  const labelsOf = async (path: string) => (await openTaskFolder(path)).files.map(({ label }) => label);
  const single = folderOf("quantized", named("_quantized"), config);
  for (const path of ["", ...named("_quantized")])
    assert.deepEqual(await labelsOf(join(single, path)), named("_quantized"));
  const separate = ["onnx/decoder_model_fp16.onnx", "onnx/decoder_with_past_model_fp16.onnx"];
  const several = folderOf("several", [...named("_q4"), ...named("_fp16"), ...separate], config);
  assert.deepEqual(await labelsOf(join(several, "onnx/encoder_model_fp16.onnx")), named("_fp16"));
  assert.deepEqual(await labelsOf(join(several, separate[0] ?? "")), ["onnx/encoder_model_fp16.onnx", ...separate]);
  await assert.rejects(openTaskFolder(several), ({ message }: Error) => {
    const choices = [...message.matchAll(/--onnx-file (\S+\.onnx)/g)].map(([, file]) => file);
    assert.deepEqual(choices.sort(), [
      "onnx/decoder_model_merged_fp16.onnx",
      "onnx/decoder_model_merged_q4.onnx",
      "onnx/decoder_with_past_model_fp16.onnx",
    ]);
    return true;
  });
});

test("an encoder without its decoder is refused, unless its vectors are what it is for", async () => {
  const marian = { architectures: ["MarianMTModel"] };
  const folder = folderOf("encoder", ["onnx/encoder_model_q4.onnx"], marian);
  const refusal =
    /holds onnx\/encoder_model_q4.onnx without its decoder: add decoder_model_merged_q4.onnx, or decoder_model_q4.onnx and decoder_with_past_model_q4.onnx\. To serve the encoder alone for its vectors, write (\{.*\}) to lorikeet.json/;
  for (const path of [folder, join(folder, "onnx/encoder_model_q4.onnx")])
    await assert.rejects(openTaskFolder(path), ({ message }: Error) => {
      writeFileSync(join(temporary, "advised.json"), refusal.exec(message)?.[1] ?? message);
      return true;
    });
  cpSync(join(temporary, "advised.json"), join(folder, "lorikeet.json"));
  const opened = await openTaskFolder(folder);
  assert.deepEqual([opened.task, opened.files.map(({ role }) => role)], ["feature-extraction", ["whole"]]);
  const vectors = folderOf("vectors", ["onnx/encoder_model.onnx"], { architectures: ["T5EncoderModel"] });
  assert.deepEqual(
    (await openTaskFolder(vectors)).files.map(({ role }) => role),
    ["whole"],
  );
});

test("a file named by its path is read alone, with the config and the checkpoint around it", async () => {
  const opened = await openTaskFolder(join(taskRoot, "resnet", "onnx", "model_dynamo.onnx"));
  assert.deepEqual(
    opened.files.map(({ label }) => label),
    ["onnx/model_dynamo.onnx"],
  );
  assert.deepEqual(
    [opened.folder, opened.task, opened.weights.length],
    [join(taskRoot, "resnet"), "image-classification", 1],
  );
});

test("a decoder's checkpoint is not a task model, even with an .onnx file beside it", async () => {
  const llama = { architectures: ["LlamaForCausalLM"], model_type: "llama" };
  assert.equal(await isTaskModel(folderOf("decoder", ["model.safetensors", "onnx/model.onnx"], llama)), false);
  assert.equal(await isTaskModel(folderOf("exported", ["onnx/model.onnx"], llama)), true);
  assert.equal(await isTaskModel(folderOf("plain", ["model.safetensors"], llama)), false);
  assert.equal(await isTaskModel(join(taskRoot, "yolos")), true);
  cpSync(join(taskRoot, "policy-mlp", "onnx", "model.onnx"), join(temporary, "bare.onnx"));
  assert.equal(await isTaskModel(join(temporary, "bare.onnx")), true);
  assert.equal(await isTaskModel("org/name"), false);
});
