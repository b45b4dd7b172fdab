/** Converts trained parameters to PEFT files and back. Our A [in, rank] and B [rank, out] are PEFT's, transposed. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type AdapterDtype,
  type AdapterToWrite,
  checkAdapter,
  methodOf,
  weightFiles,
  writeAdapter,
} from "../../adapter/format.js";
import { assert, LorikeetError } from "../../base/errors.js";
import type { BaseModule } from "../../model/blueprint.js";
import { baseModules, scorePath, scoreWeight } from "../../model/modules.js";
import { moduleInputs } from "../../model/training/types.js";
import type { DecoderConfig } from "../../model/types.js";
import { SafetensorsFile } from "../../tensor/safetensors.js";
import { transpose } from "../../tensor/transpose.js";
import type { LoraModule, LoraShape } from "../lora.js";
import type { Parameter } from "../step.js";

export interface AdapterFacts {
  readonly shape: LoraShape;
  readonly modules: readonly LoraModule[];
  readonly targetModules: readonly string[];
  readonly dropout: number;
  /** DoRA: each target module also has a magnitude. */
  readonly dora: boolean;
  readonly baseModelName: string;
  /** Whether adapted layers are stored [in, out]. */
  readonly fanInFanOut: boolean;
  /** Names of the outputs of a classification head, which is saved whole; null: the adapter has none. */
  readonly labels: readonly string[] | null;
}

/** Writes the current parameters and flushes them to disk. BF16 rounds them. */
export async function saveAdapter(
  folder: string,
  { shape, modules, targetModules, dropout, dora, baseModelName, fanInFanOut, labels }: AdapterFacts,
  parameters: readonly Parameter[],
  dtype: AdapterDtype = "F32",
): Promise<void> {
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const dataOf = (name: string): Float32Array => {
    const parameter = byName.get(name);
    assert(parameter, `the step trains ${name}`);
    return parameter.data;
  };
  const patterns = patternsOf(shape, modules);
  const adapter: AdapterToWrite = {
    config: {
      r: shape.rank,
      loraAlpha: shape.alpha,
      useRslora: shape.rslora,
      useDora: dora,
      loraDropout: dropout,
      baseModelName,
      targetModules,
      fanInFanOut,
      ...patterns,
      ...(labels && { taskType: "SEQ_CLS", modulesToSave: [scorePath] }),
    },
    tensors: modules.map(({ path, rank, inFeatures, outFeatures }) => ({
      path,
      rank,
      inFeatures,
      outFeatures,
      a: transpose(dataOf(moduleInputs(path).a), inFeatures, rank),
      b: transpose(dataOf(moduleInputs(path).b), rank, outFeatures),
      ...(dora ? { magnitude: dataOf(moduleInputs(path).magnitude) } : {}),
    })),
    whole: parameters.filter(({ name }) => labels && name === scoreWeight),
  };
  await writeAdapter(folder, adapter, { fsync: true, dtype });
  if (labels) await writeLabels(folder, labels);
}

/** What a head's outputs are called, beside the adapter. */
export async function writeLabels(folder: string, labels: readonly string[]): Promise<void> {
  await writeFile(join(folder, "labels.json"), `${JSON.stringify(labels, null, 2)}\n`, { flush: true });
}

/** Target modules whose rank or alpha differs from the common one, by path. */
function patternsOf(shape: LoraShape, modules: readonly LoraModule[]) {
  const entries = (key: "rank" | "alpha"): Record<string, number> =>
    Object.fromEntries(
      modules.filter((module) => module[key] !== shape[key]).map((module) => [module.path, module[key]]),
    );
  return { rankPattern: entries("rank"), alphaPattern: entries("alpha") };
}

export interface OpenedAdapter {
  readonly digest: string;
  readonly dora: boolean;
  readonly shape: LoraShape;
  readonly modules: readonly LoraModule[];
  /** Of its classification head; null: it has none. */
  readonly head: OpenedHead | null;
  /** Copies the tensors into the parameters. */
  readInto(parameters: readonly Parameter[]): Promise<void>;
}

export interface OpenedHead {
  readonly outFeatures: number;
  readonly labels: readonly string[] | null;
}

/** Opens a PEFT folder to continue training, after checking it against its base model. Throws what the check throws. */
export async function openAdapter(
  folder: string,
  config: DecoderConfig,
  modulesOfBase: readonly BaseModule[] = baseModules(config),
): Promise<OpenedAdapter> {
  const {
    summary,
    modules: checked,
    saved,
    tokens,
    labels,
    config: canonical,
  } = await checkAdapter(folder, modulesOfBase);
  if (!methodOf(canonical).isTrainable) throw notTrained(folder, canonical.peft_type);
  const hasBiases = checked.some(({ addedBiasName }) => addedBiasName !== null) || saved.some(({ weight }) => !weight);
  if (hasBiases) throw biasNotTrained(folder);
  if (checked.some(({ path }) => path === config.embedding.path)) throw embeddingNotTrained(folder);
  if (tokens.length > 0) throw tokensNotTrained(folder);
  const score = saved.find(({ path }) => path === scorePath);
  if (saved.some(({ isNorm }) => isNorm)) throw normNotTrained(folder);
  if (score?.bias) throw headBiasNotTrained(folder);
  const shape = { rank: canonical.r, alpha: canonical.lora_alpha, rslora: canonical.use_rslora };
  const modules = checked.map(({ path, inFeatures, outFeatures, rank, alpha, scale }) => ({
    path,
    inFeatures,
    outFeatures,
    rank,
    alpha,
    scale,
  }));
  return {
    digest: summary.weightsDigest,
    dora: summary.dora,
    shape,
    modules,
    head: score ? { outFeatures: score.outFeatures, labels } : null,
    async readInto(parameters) {
      const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
      await using file = await openWeights(folder);
      for (const { path, inFeatures, outFeatures, rank, aName, bName, extraName } of checked) {
        const { a, b, magnitude } = moduleInputs(path);
        transposeInto(await file.readFloat32(aName), rank, inFeatures, byName.get(a));
        transposeInto(await file.readFloat32(bName), outFeatures, rank, byName.get(b));
        if (extraName !== null) transposeInto(await file.readFloat32(extraName), 1, outFeatures, byName.get(magnitude));
      }
      const trained = byName.get(scoreWeight);
      if (score?.weight && trained) trained.data.set(await file.readFloat32(score.weight.name));
    },
  };
}

function embeddingNotTrained(folder: string): LorikeetError {
  const message = `${folder} adapts the embeddings, which training does not continue.`;
  return new LorikeetError("adapter_unsupported", message, { param: folder });
}

function tokensNotTrained(folder: string): LorikeetError {
  const message = `${folder} replaces rows of the embeddings or the head (trainable_token_indices or modules_to_save), which training does not continue.`;
  return new LorikeetError("adapter_unsupported", message, { param: folder });
}

function normNotTrained(folder: string): LorikeetError {
  const message = `${folder} replaces normalizations (modules_to_save), which training does not continue.`;
  return new LorikeetError("adapter_unsupported", message, { param: folder });
}

function headBiasNotTrained(folder: string): LorikeetError {
  const message = `${folder} has a bias on its classification head (score), which is not trained.`;
  return new LorikeetError("adapter_unsupported", message, { param: folder });
}

function notTrained(folder: string, method: string): LorikeetError {
  return new LorikeetError(
    "adapter_unsupported",
    `${folder} holds an adapter of peft_type ${method}; only LORA can be continued.`,
    { param: "--init-from", found: method, allowed: "LORA" },
  );
}

function biasNotTrained(folder: string): LorikeetError {
  const message = `${folder} holds an adapter with biases (bias or lora_bias), which are not trained; only adapters without them can be continued.`;
  return new LorikeetError("adapter_unsupported", message, { param: "--init-from" });
}

/** Throws `adapter_unsupported` for a folder without a file in the format of PEFT. */
export async function openWeights(folder: string): Promise<SafetensorsFile> {
  const [name] = weightFiles;
  try {
    return await SafetensorsFile.open(join(folder, name));
  } catch (cause) {
    throw new LorikeetError(
      "adapter_unsupported",
      `${folder} holds no ${name}: only adapters in PEFT's format can be continued.`,
      {
        param: "--init-from",
        found: folder,
        allowed: name,
        cause,
      },
    );
  }
}

function transposeInto(tensor: Float32Array, rows: number, columns: number, into: Parameter | undefined): void {
  assert(into && into.data.length === tensor.length, "each tensor of an adapter has a parameter of its size");
  transpose(tensor, rows, columns, into.data);
}
