/** Checks a module's lora_A and lora_B against each other and against the base, by the kind of module. */

import type { ModuleKind } from "../../model/task/weighted-nodes.js";
import type { StoredTensor } from "../../tensor/safetensors.js";
import { elementCount, formatShape } from "../../tensor/shape.js";
import type { ResolvedModule } from "./base.js";
import type { ReadConfig } from "./config/read.js";
import { type Faults, quote } from "./faults.js";
import type { AdapterMethod, Role } from "./methods/method.js";
import type { MatrixDtype, ModulePlan, StoredArray, StoredExtra, StoredMatrix } from "./module-plan.js";

/** The tensors that a file has for a module, as far as they were read. */
export interface Draft {
  readonly resolved: ResolvedModule;
  readonly kind: ModuleKind;
  /** The path in the trained model, which the patterns apply to. */
  readonly source: string;
  a?: StoredMatrix;
  b?: StoredMatrix;
  extra?: StoredExtra;
  addedBias?: StoredArray;
  broken: boolean;
}

export type DraftTensor = Pick<Draft, "a"> | Pick<Draft, "b"> | Pick<Draft, "extra"> | Pick<Draft, "addedBias">;

export interface Pair extends Omit<ModulePlan, "alpha" | "scale" | "isIdle"> {
  readonly source: string;
}

export interface PairContext {
  readonly config: ReadConfig;
  readonly maxRank: number;
  readonly faults: Faults;
}

const axesInWords = ["no axis is", "one axis is", "two axes are", "three axes are", "four axes are", "five axes are"];

/** The field of the draft that a tensor fills; null if its number of axes is a fault. */
export function readTensor(
  name: string,
  { shape }: StoredTensor,
  dtype: MatrixDtype,
  { role, transposed }: { readonly role: Role; readonly transposed: boolean },
  { kind, resolved }: Pick<Draft, "kind" | "resolved">,
  { config: { method }, faults }: PairContext,
): DraftTensor | null {
  const misfit = (axes: number): null => {
    faults.invalid(`tensor ${quote(name)} has shape ${formatShape(shape)}; ${axesInWords[axes]} allowed`);
    return null;
  };
  const { extraTensor } = method;
  if (extraTensor?.role === role) {
    const found = kind === "convolution" && role === "M" ? flattened(shape) : shape;
    if (found.length !== extraTensor.axes) return misfit(kind === "convolution" ? shape.length : extraTensor.axes);
    return { extra: { name, dtype, shape: found, spec: extraTensor } };
  }
  if (role === "bias") return shape.length === 1 ? { addedBias: { name, dtype, shape } } : misfit(1);
  const kernelAxes = resolved.module?.kernel.length ?? Math.min(Math.max(shape.length - 2, 1), 3);
  const axes = kind === "convolution" ? 2 + kernelAxes : 2;
  const [rows, columns, ...rest] = shape;
  if (rows === undefined || columns === undefined || shape.length !== axes) return misfit(axes);
  const peftShape = transposed ? [columns, rows] : shape;
  const matrix = { name, dtype, shape: [rows, columns * elementCount(rest)], transposed, peftShape } as const;
  return role === "A" ? { a: matrix } : { b: matrix };
}

/** A convolution's magnitudes [1, out, 1, 1] as [out]; other shapes as they are. */
function flattened(shape: readonly number[]): readonly number[] {
  const [first, outputs = 0, ...rest] = shape;
  return shape.length >= 3 && first === 1 && rest.every((size) => size === 1) ? [outputs] : shape;
}

/** null, with faults, if the pair is incomplete or does not fit. */
export function checkPair(draft: Draft, { config, maxRank, faults }: PairContext): Pair | null {
  const { resolved, kind, source, a, b, extra, addedBias, broken } = draft;
  const { path, module } = resolved;
  const { extraTensor, prunesRanks } = config.method;
  const before = faults.count;
  const present = a ? "lora_A" : b ? "lora_B" : addedBias ? "a bias of lora_B" : extra?.spec.words.a;
  if (!broken && !b) faults.invalid(`module ${path} has ${present} but no lora_B`);
  if (!broken && !a) faults.invalid(`module ${path} has ${present} but no lora_A`);
  if (!a || !b) return null;
  const [rank = 0, inFeatures = 0, ...kernel] = a.peftShape;
  const [outFeatures = 0, rankOfGroup = 0, ...pointwise] = b.peftShape;
  const groups = groupsOf(draft, rank, rankOfGroup);
  if (rank !== rankOfGroup * groups) faults.invalid(rankFault(path, rank, rankOfGroup, groups));
  const least = prunesRanks ? 0 : 1;
  if (rank < least || rank > maxRank) {
    faults.invalid(`module ${path} has rank ${rank}; ${least} to ${maxRank} is allowed`);
  }
  checkMethod(path, kind, groups, config.method, faults);
  if (extra || !broken) extraTensor?.check({ path, rank, outFeatures }, extra?.shape ?? null, faults);
  if (addedBias && config.method.hasGains) {
    faults.unsupported(`module ${path} has a bias of lora_B (lora_bias), which PEFT does not allow with DoRA`);
  }
  if (addedBias && addedBias.shape[0] !== outFeatures) {
    faults.invalid(`module ${path} has ${addedBias.shape[0]} biases in lora_B, but ${outFeatures} outputs`);
  }
  const kept = config.keptRanks.get(source);
  if (kept !== undefined && kept !== rank) {
    faults.invalid(`module ${path} has rank ${rank} in lora_A, but rank_pattern keeps ${kept}`);
  }
  if (pointwise.some((size) => size !== 1)) {
    faults.invalid(`module ${path} has a kernel of ${pointwise.join("x")} in lora_B; a kernel of 1 is allowed`);
  }
  const { qaloraGroup } = config;
  if (module && qaloraGroup !== null && inFeatures * qaloraGroup === module.inFeatures) {
    faults.unsupported(
      `module ${path} has a lora_A for the means of ${qaloraGroup} inputs each (use_qalora), as PEFT trains it over a base quantized by GPTQ, which is not supported; train it over the plain base`,
    );
  } else if (module) checkFit(module, { inFeatures, outFeatures, kernel }, faults);
  if (broken || faults.count > before) return null;
  const sizes = { path, source, rank, inFeatures, outFeatures, kind, kernel, groups };
  return { ...sizes, a, b, extra: extra ?? null, addedBias: addedBias ?? null };
}

/** Without a base, a convolution's groups follow from its ranks. */
function groupsOf({ kind, resolved }: Draft, rank: number, rankOfGroup: number): number {
  if (kind !== "convolution") return 1;
  if (resolved.module) return resolved.module.groups;
  return rankOfGroup > 0 && rank % rankOfGroup === 0 ? rank / rankOfGroup : 1;
}

function rankFault(path: string, rank: number, rankOfGroup: number, groups: number): string {
  if (groups === 1) return `module ${path} has rank ${rank} in lora_A, but rank ${rankOfGroup} in lora_B`;
  return `module ${path} has ${groups} groups and rank ${rank} in lora_A, but rank ${rankOfGroup} for each group in lora_B; a rank that is the groups' number times that of lora_B is allowed`;
}

const nouns = {
  ...{ linear: "a linear layer", convolution: "a convolution", table: "a table" },
  ...{ norm: "a normalization", bias: "a bias" },
} as const;

function checkMethod(path: string, kind: ModuleKind, groups: number, method: AdapterMethod, faults: Faults): void {
  if (!method.kinds.has(kind)) {
    faults.unsupported(
      `module ${path} is ${nouns[kind]}, on which ${method.name} is not supported; train it with LoRA`,
    );
  } else if (groups > 1 && method.hasGains) {
    faults.unsupported(`module ${path} has ${groups} groups, and ${method.name} is only defined for one`);
  }
}

function checkFit(
  module: NonNullable<ResolvedModule["module"]>,
  { inFeatures, outFeatures, kernel }: Pick<ModulePlan, "inFeatures" | "outFeatures" | "kernel">,
  faults: Faults,
): void {
  const { path, kind } = module;
  const [takes, what] = kind === "table" ? ["has", "rows"] : ["takes", "inputs"];
  if (inFeatures !== module.inFeatures) {
    faults.otherShape(
      path,
      `module ${path} ${takes} ${module.inFeatures} ${what} in the base, but ${inFeatures} in lora_A`,
    );
  }
  if (outFeatures !== module.outFeatures) {
    faults.otherShape(
      path,
      `module ${path} gives ${module.outFeatures} outputs in the base, but ${outFeatures} in lora_B`,
    );
  }
  if (kernel.join() !== module.kernel.join()) {
    faults.otherShape(
      path,
      `module ${path} has a kernel of ${module.kernel.join("x")} in the base, but ${kernel.join("x")} in lora_A`,
    );
  }
}
