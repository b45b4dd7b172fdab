/**
 * A checkpoint directory, opened: its config read, and every tensor that the decoder needs located and validated by name,
 * shape and dtype. Reads headers, not weights, except to check that a second copy of a tied head is equal.
 */

import { createHash, type Hash } from "node:crypto";
import { stat } from "node:fs/promises";
import { isObject, shown } from "../../base/json.js";
import { SafetensorsFile } from "../../tensor/safetensors.js";
import { elementCount, formatShape, sameShape } from "../../tensor/shape.js";
import { Faults } from "../config/fields.js";
import { readDecoderConfig } from "../config/read.js";
import { readGenerationDefaults } from "../config/tokens.js";
import { expectedTensors } from "../modules.js";
import type { Checkpoint, DecoderConfig, TensorLocation } from "../types.js";
import { findWeights, openDirectory, readJson, type WeightFile } from "./files.js";
import { modelNames } from "./model-names.js";
import { canonicalName, isForeign } from "./names.js";

interface FoundTensor extends TensorLocation {
  /** The name as the file spells it. */
  readonly stored: string;
}

/**
 * Opens a Hugging Face model directory. Throws LorikeetError `model_invalid` or `model_unsupported`, one error for all
 * faults of the config, or of the weights.
 */
export async function openCheckpoint(directory: string): Promise<Checkpoint> {
  const { path, names } = await openDirectory(directory);
  const json = await readJson(path, "config.json");
  const hasGeneration = names.includes("generation_config.json");
  const generation = hasGeneration ? await readJson(path, "generation_config.json") : {};
  const config = readDecoderConfig(json, generation);
  const hash = createHash("sha256").update(JSON.stringify(json));
  const faults = new Faults();
  const found = new Map<string, FoundTensor>();
  const foreign: TensorLocation[] = [];
  for (const file of await findWeights(path, names)) await readHeader(file, config, { found, foreign }, faults, hash);
  const tensors = await prove(config, found, faults);
  faults.throwIfAny(`The weights of ${directory} are not those of its config.json`);
  return {
    directory: path,
    names: modelNames(path, json),
    config,
    tensors,
    foreign,
    parameterCount: [...tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0),
    generationDefaults: isObject(generation) ? readGenerationDefaults(generation) : {},
    fingerprint: hash.digest("hex"),
  };
}

/** Sorts a file's tensors into those of the decoder and others, and adds what identifies the file to `hash`. */
async function readHeader(
  { label, path, promised }: WeightFile,
  { family }: DecoderConfig,
  { found, foreign }: { readonly found: Map<string, FoundTensor>; readonly foreign: TensorLocation[] },
  faults: Faults,
  hash: Hash,
): Promise<void> {
  await using file = await SafetensorsFile.open(path, { code: "model_invalid", label });
  const { mtimeNs } = await stat(path, { bigint: true });
  hash.update(JSON.stringify([label, file.fileBytes, String(mtimeNs), [...file.tensors]]));
  for (const name of promised ?? []) {
    if (!file.tensors.has(name)) faults.invalid(`${shown(name)} is not in ${label}, where the index puts it`);
  }
  for (const [stored, tensor] of file.tensors) {
    if (isForeign(family, stored)) {
      foreign.push({ name: stored, file: path, ...tensor });
      continue;
    }
    const name = canonicalName(family, stored);
    if (name === null) continue;
    const other = found.get(name);
    if (other) faults.invalid(`${shown(stored)} of ${label} is the same tensor as ${shown(other.stored)}`);
    else found.set(name, { name, stored, file: path, ...tensor });
  }
}

/** The tensors of the decoder in order. Checks that all are present and that there are no others. */
async function prove(
  config: DecoderConfig,
  found: ReadonlyMap<string, FoundTensor>,
  faults: Faults,
): Promise<ReadonlyMap<string, TensorLocation>> {
  const tensors = new Map<string, TensorLocation>();
  const unclaimed = new Map(found);
  const headWeight = `${config.head.path}.weight`;
  for (const { name, shape } of expectedTensors(config)) {
    const tensor = found.get(name);
    unclaimed.delete(name);
    if (!tensor) {
      const hint =
        name === headWeight ? ' (set "tie_word_embeddings" to true if the embeddings serve as the head)' : "";
      faults.invalid(`${name} ${formatShape(shape)} is missing${hint}`);
      continue;
    }
    if (!sameShape(tensor.shape, shape)) {
      faults.invalid(
        `${tensor.stored} has the shape ${formatShape(tensor.shape)}, but must have ${formatShape(shape)}`,
      );
    }
    checkDtype(tensor, faults);
    const { stored, ...location } = tensor;
    tensors.set(name, location);
  }
  const head = unclaimed.get(headWeight);
  if (config.head.tied && head) {
    unclaimed.delete(headWeight);
    await checkTiedHead(config, head, found, faults);
  }
  for (const { stored } of unclaimed.values()) {
    faults.invalid(`${shown(stored)} is not a tensor of a ${config.family} decoder with this config`);
  }
  return tensors;
}

function checkDtype({ stored, dtype }: FoundTensor, faults: Faults): void {
  if (dtype === "F32" || dtype === "F16" || dtype === "BF16") return;
  faults.unsupported(`${stored} is ${dtype}, but weights must be F32, F16 or BF16`);
}

/** A tied head may be stored a second time. A different one would be ignored silently, so it is refused. */
async function checkTiedHead(
  config: DecoderConfig,
  head: FoundTensor,
  found: ReadonlyMap<string, FoundTensor>,
  faults: Faults,
): Promise<void> {
  const embeddings = found.get(`${config.embedding.path}.weight`);
  if (!embeddings || (await haveSameBytes(head, embeddings))) return;
  faults.invalid(
    `${head.stored} differs from ${embeddings.stored}, but tie_word_embeddings is true: set it to false if the model has a head of its own`,
  );
}

const chunkBytes = 4 * 2 ** 20;

async function haveSameBytes(left: FoundTensor, right: FoundTensor): Promise<boolean> {
  if (left.dtype !== right.dtype || !sameShape(left.shape, right.shape)) return false;
  await using leftFile = await SafetensorsFile.open(left.file, { code: "model_invalid" });
  await using rightFile = await SafetensorsFile.open(right.file, { code: "model_invalid" });
  for (let begin = 0; begin < left.byteLength; begin += chunkBytes) {
    const range = { begin, end: Math.min(begin + chunkBytes, left.byteLength) };
    const [a, b] = await Promise.all([leftFile.read(left.stored, range), rightFile.read(right.stored, range)]);
    if (Buffer.compare(a, b) !== 0) return false;
  }
  return true;
}
