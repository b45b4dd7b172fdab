/**
 * Weight-decomposed adapters (DoRA, arXiv:2402.09353): W' = m / |W + s B A| · (W + s B A), by output. What concerns the base's
 * weights, and PEFT's files of it: the server takes none yet, so that a run and a merge read them here.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { configFile, weightFiles } from "../adapter/format.js";
import type { HostSite } from "../adapter/types.js";
import { assert, LorikeetError } from "../base/errors.js";
import { readSegment, toFloat32 } from "../model/convert-task.js";
import { linearSites } from "../model/sites.js";
import { siteInputs } from "../model/training-types.js";
import type { Checkpoint, DecoderConfig } from "../model/types.js";
import { SafetensorsFile } from "../tensor/safetensors.js";
import { transpose } from "../tensor/transpose.js";
import type { LoraSite } from "./lora.js";
import { addProduct } from "./low-rank.js";
import type { Parameter } from "./step.js";

/** A [in, rank] and B [rank, out] in float32, and the length of each output's weights. */
export interface DoraSite extends HostSite {
  readonly magnitude: Float32Array; // [out]
}

/** Whether a layer's weight is stored [in, out]. */
export const isTransposed = ({ family }: DecoderConfig, path: string): boolean =>
  family === "gpt2" && path !== "lm_head";

/** |w| of each of `outputs`, over a weight [out, in], or [in, out] when it is transposed. Summed in float64. */
export function outputNorms(weight: Float32Array, outputs: number, transposed: boolean): Float32Array {
  const sums = new Float64Array(outputs);
  const inputs = weight.length / outputs;
  for (let i = 0; i < weight.length; i++) {
    const output = transposed ? i % outputs : Math.floor(i / inputs);
    sums[output] = (sums[output] ?? 0) + (weight[i] ?? 0) ** 2;
  }
  return Float32Array.from(sums, Math.sqrt);
}

/** Gives each output's weights the length of its magnitude, in place. */
export function rescale(weight: Float32Array, magnitude: Float32Array, transposed: boolean): void {
  const norms = outputNorms(weight, magnitude.length, transposed);
  const inputs = weight.length / magnitude.length;
  for (let i = 0; i < weight.length; i++) {
    const output = transposed ? i % magnitude.length : Math.floor(i / inputs);
    weight[i] = ((weight[i] ?? 0) * (magnitude[output] ?? 0)) / (norms[output] ?? 1);
  }
}

/** Magnitudes at which the adapter computes what LoRA with the same A and B does; with B = 0 what the base does. */
export function startMagnitudes(
  { config, tensors }: Checkpoint,
  sites: readonly LoraSite[],
  parameters: readonly Parameter[],
): void {
  const data = new Map(parameters.map((parameter) => [parameter.name, parameter.data]));
  for (const { path, rank, scale, outFeatures } of sites) {
    const names = siteInputs(path);
    const location = tensors.get(`${path}.weight`);
    const [a, b, magnitude] = [data.get(names.a), data.get(names.b), data.get(names.magnitude)];
    assert(location && a && b && magnitude, `${path} is trained with a magnitude`);
    const weight = toFloat32(location.dtype, readSegment(location)).slice();
    const transposed = isTransposed(config, path);
    if (b.some((value) => value !== 0)) addProduct(weight, { rank, scale, dtype: "F32", a, b }, transposed);
    magnitude.set(outputNorms(weight, outFeatures, transposed));
  }
}

/** Whether a PEFT folder says that it holds DoRA. */
export async function isDora(folder: string): Promise<boolean> {
  const text = await readFile(join(folder, configFile), "utf8").catch(() => "");
  return /"use_dora"\s*:\s*true/.test(text);
}

/**
 * Reads a DoRA folder in PEFT's own spelling: every tensor of the file is used. Throws `adapter_invalid`, and
 * `adapter_unsupported` for options that would change what it computes.
 */
export async function openDora(folder: string, config: DecoderConfig): Promise<ReadonlyMap<string, DoraSite>> {
  const { alpha, rslora } = await readConfig(folder);
  await using file = await SafetensorsFile.open(join(folder, weightFiles[0]));
  const sites = new Map<string, DoraSite>();
  const unused = new Set(file.tensors.keys());
  for (const { path, inFeatures, outFeatures } of linearSites(config)) {
    const name = `base_model.model.${path}`;
    const [aName, bName, mName] = [`${name}.lora_A.weight`, `${name}.lora_B.weight`, `${name}.lora_magnitude_vector`];
    const rank = file.tensors.get(aName)?.shape[0];
    if (rank === undefined) continue;
    const read = async (tensor: string, shape: readonly number[]): Promise<Float32Array> => {
      const found = file.tensors.get(tensor)?.shape;
      if (`${found}` !== `${shape}`) {
        throw invalid(folder, `${tensor} is [${found ?? "missing"}], and [${shape}] is allowed`);
      }
      unused.delete(tensor);
      const values = await file.readFloat32(tensor);
      if (!values.every(Number.isFinite)) throw invalid(folder, `${tensor} holds NaN or infinity`);
      return values;
    };
    sites.set(path, {
      rank,
      dtype: "F32",
      scale: alpha / (rslora ? Math.sqrt(rank) : rank),
      a: transpose(await read(aName, [rank, inFeatures]), rank, inFeatures),
      b: transpose(await read(bName, [outFeatures, rank]), outFeatures, rank),
      magnitude: await read(mName, [outFeatures]),
    });
  }
  const [stranger] = unused;
  if (stranger !== undefined) throw invalid(folder, `${stranger} is no tensor of DoRA on a linear layer of this base`);
  if (sites.size === 0) throw invalid(folder, "it adapts no layer");
  return sites;
}

async function readConfig(folder: string): Promise<{ alpha: number; rslora: boolean }> {
  const fields: unknown = JSON.parse(await readFile(join(folder, configFile), "utf8"));
  assert(typeof fields === "object" && fields !== null, "isDora has found a setting in it");
  const found = new Map<string, unknown>(Object.entries(fields));
  const isPlain = (value: unknown): boolean =>
    !value || value === "none" || (typeof value === "object" && Object.keys(value).length === 0);
  const set = ["bias", "lora_bias", "modules_to_save", "rank_pattern", "alpha_pattern", "target_parameters"].filter(
    (key) => !isPlain(found.get(key)),
  );
  if (set.length > 0) {
    throw new LorikeetError(
      "adapter_unsupported",
      `${folder} is DoRA with ${set.join(" and ")}, which is not supported.`,
      {
        found: set,
      },
    );
  }
  const alpha = found.get("lora_alpha");
  if (typeof alpha !== "number") throw invalid(folder, "lora_alpha is no number");
  return { alpha, rslora: found.get("use_rslora") === true };
}

/** Copies opened sites into the parameters of their names. */
export function readInto(sites: ReadonlyMap<string, DoraSite>, parameters: readonly Parameter[]): void {
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const put = (name: string, values: ArrayLike<number>): void => {
    const parameter = byName.get(name);
    assert(parameter && parameter.data.length === values.length, `the step trains ${name}`);
    parameter.data.set(values);
  };
  for (const [path, { a, b, magnitude }] of sites) {
    const names = siteInputs(path);
    put(names.a, a);
    put(names.b, b);
    put(names.magnitude, magnitude);
  }
}

function invalid(folder: string, reason: string): LorikeetError {
  return new LorikeetError("adapter_invalid", `${folder} cannot be read: ${reason}.`, { found: reason });
}
