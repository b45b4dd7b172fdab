/** A task model's adapter as PEFT's files: writes the trained tensors, and opens a folder to continue from. */

import { type AdapterDtype, checkTaskAdapter, methodOf, writeTensors } from "../../adapter/format.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import type { TaskTarget } from "../../model/task/adapter-targets.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { type TrainedTarget, tensorNames } from "../../model/task/trained-modules.js";
import { floatsOf, storedFloats } from "../../model/task/weight-values.js";
import { openWeights, writeLabels } from "../files/adapter-files.js";
import type { LoraShape } from "../lora.js";
import type { Parameter } from "../step.js";

export interface TaskAdapterFacts {
  readonly shape: LoraShape;
  readonly targets: readonly TrainedTarget[];
  readonly dropout: number;
  readonly dora: boolean;
  readonly baseModelName: string;
  /** What the head's outputs are called; null: the base's labels, or none. */
  readonly labels: readonly string[] | null;
}

/** Writes the current parameters and flushes them to disk. BF16 rounds them. */
export async function saveTaskAdapter(
  folder: string,
  { shape, targets, dropout, dora, baseModelName, labels }: TaskAdapterFacts,
  parameters: readonly Parameter[],
  dtype: AdapterDtype = "F32",
): Promise<void> {
  const adapted = targets.flatMap(({ module: { path }, form }) => (form.kind === "lora" ? [{ path, form }] : []));
  const whole = targets.flatMap(({ module: { path }, form }) => (form.kind === "whole" ? [path] : []));
  const differing = (key: "rank" | "alpha"): Record<string, number> =>
    Object.fromEntries(
      adapted.filter(({ form }) => form[key] !== shape[key]).map(({ path, form }) => [path, form[key]]),
    );
  const config = {
    r: shape.rank,
    loraAlpha: shape.alpha,
    useRslora: shape.rslora,
    useDora: dora,
    loraDropout: dropout,
    baseModelName,
    targetModules: adapted.map(({ path }) => path),
    modulesToSave: whole,
    bias: biasesOf(targets),
    rankPattern: differing("rank"),
    alphaPattern: differing("alpha"),
    taskType: null,
  };
  await writeTensors(folder, config, parameters, { fsync: true, dtype });
  if (labels) await writeLabels(folder, labels);
}

/** PEFT's word for the biases that are trained. */
function biasesOf(targets: readonly TrainedTarget[]): "none" | "lora_only" | "all" {
  const biases = targets.flatMap(({ form }) => (form.kind === "bias" ? [form] : []));
  if (biases.length === 0) return "none";
  return biases.every(({ isAdapted }) => isAdapted) ? "lora_only" : "all";
}

export interface OpenedTaskAdapter {
  readonly digest: string;
  readonly shape: LoraShape;
  readonly dora: boolean;
  readonly targets: readonly TrainedTarget[];
  readonly labels: readonly string[] | null;
  /** Copies the tensors into the parameters of their names. */
  readInto(parameters: readonly Parameter[]): Promise<void>;
}

/** Opens a PEFT folder of this base, after checking it. Throws what the check throws, and `adapter_unsupported` for what is not trained. */
export async function openTaskAdapter(
  folder: string,
  modules: readonly TaskModule[],
  targetsOfBase: readonly TaskTarget[],
): Promise<OpenedTaskAdapter> {
  const { summary, config, modules: adapted, saved, tokens, labels } = await checkTaskAdapter(folder, targetsOfBase);
  if (!methodOf(config).isTrainable) throw notContinued(folder, `is of peft_type ${config.peft_type}; LORA is trained`);
  if (adapted.some(({ addedBias }) => addedBias !== null)) {
    throw notContinued(folder, "has biases on lora_B (lora_bias), which are not trained");
  }
  if (tokens.length > 0)
    throw notContinued(folder, "has trained rows (trainable_token_indices), which are not trained");
  if (saved.some(({ weight, isNorm }) => weight && isNorm)) {
    throw notContinued(folder, "replaces normalizations (modules_to_save), which are not trained");
  }
  const moduleAt = (path: string): TaskModule => {
    const module = modules.find((other) => other.path === path);
    assert(module, "a checked adapter's modules are the base's");
    return module;
  };
  const dora = summary.dora;
  const products = new Set(adapted.map(({ path }) => path));
  const biases: TrainedTarget[] = [];
  for (const { path, weight, isFixed } of saved) {
    if (weight || isFixed) continue;
    biases.push(await biasTarget(moduleAt(path), modules, products.has(path), folder));
  }
  const targets: TrainedTarget[] = [
    ...adapted.map(({ path, rank, alpha, scale }): TrainedTarget => {
      return { module: moduleAt(path), form: { kind: "lora", rank, alpha, scale, dora, dropout: 0 } };
    }),
    ...biases,
    ...saved.flatMap(({ path, outFeatures, weight, bias }): TrainedTarget[] => {
      if (!weight) return [];
      // The file has its values, so there is nothing to start with.
      const form = { kind: "whole", outFeatures, hasBias: bias !== null, isFresh: true } as const;
      return [{ module: moduleAt(path), form }];
    }),
  ];
  const stored = new Map<string, string>();
  for (const { path, kind, a, b, extra } of adapted) {
    const names = tensorNames({ path, kind });
    stored.set(names.a, a.name).set(names.b, b.name);
    if (extra) stored.set(names.magnitude, extra.name);
  }
  for (const { path, kind, weight, bias } of saved) {
    const names = tensorNames({ path, kind });
    if (weight) stored.set(names.weight, weight.name);
    if (bias) stored.set(names.bias, bias.name).set(names.adaptedBias, bias.name);
  }
  return {
    digest: summary.weightsDigest,
    shape: { rank: config.r, alpha: config.lora_alpha, rslora: config.use_rslora },
    dora,
    targets,
    labels,
    async readInto(parameters) {
      await using file = await openWeights(folder);
      for (const { name, data } of parameters) {
        const tensor = stored.get(name);
        if (tensor === undefined) continue; // a magnitude that the adapter did not have
        data.set(await file.readFloat32(tensor));
      }
    },
  };
}

/** A trained bias, and where the graphs add it. */
async function biasTarget(
  module: TaskModule,
  modules: readonly TaskModule[],
  isAdapted: boolean,
  folder: string,
): Promise<TrainedTarget> {
  const { path, foldedInto, foldedNorm, storedBias } = module;
  const into = modules.find((other) => other.path === foldedInto);
  const layers = (into ?? module).uses.map(({ target }) => target);
  const [first] = layers;
  if (!first?.bias || layers.some(({ bias }) => bias === null) || foldedNorm.kind !== "none") {
    throw notContinued(folder, `trains the bias of ${path}, which the ONNX file does not add by itself`);
  }
  if (!into || !storedBias) return { module, form: { kind: "bias", isAdapted, layers, offset: null } };
  const [base, own] = [await floatsOf(first.bias.values), await storedFloats(storedBias)];
  const offset = base.map((value, i) => value - at(own, i));
  return { module, form: { kind: "bias", isAdapted, layers, offset } };
}

function notContinued(folder: string, clause: string): LorikeetError {
  return new LorikeetError("adapter_unsupported", `${folder} holds an adapter that ${clause}.`, {
    param: "--init-from",
  });
}
