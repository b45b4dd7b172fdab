/** The target modules of a task model as adapters see them: plain data, which threads may exchange. */

import { createHash } from "node:crypto";
import type { Graph } from "../../graph/types.js";
import type { StoredWeight, TargetModule } from "../blueprint.js";
import { HeadReader } from "./head-outputs.js";
import type { ModuleName } from "./names.js";
import type { FoldedNorm, TaskGraph, TaskModule } from "./target-modules.js";
import type { ModuleKind, WeightedNode } from "./weighted-nodes.js";

export interface TaskTarget extends TargetModule {
  readonly kind: ModuleKind;
  readonly names: readonly ModuleName[];
  /** Empty unless it is a convolution. */
  readonly kernel: readonly number[];
  readonly groups: number;
  readonly foldedNorm: FoldedNorm["kind"];
  readonly hasBias: boolean;
  /** Whether its outputs are the model's own, so that another number of them breaks no later shape. */
  readonly isOutput: boolean;
  /** Its weight in the checkpoint beside the files; null if it is not there. */
  readonly stored: StoredWeight | null;
  /** Its bias there; null if it is not there. */
  readonly storedBias: StoredWeight | null;
  /** Of kind "bias": why it takes no weight of an adapter, as a clause; null of other kinds. */
  readonly biasAlone: string | null;
  /** Why it takes no adapter here: a clause such as "has weights of type float16"; null if it takes one. */
  readonly refusal: string | null;
}

/** `refusals`: modules that take no adapter, each with a clause that says why. */
export function taskTargetsOf(
  modules: readonly TaskModule[],
  refusals: ReadonlyMap<TaskModule, string> = new Map(),
): TaskTarget[] {
  const readers = new Map<Graph, HeadReader>();
  const readerOf = ({ graph }: TaskGraph): HeadReader => {
    const known = readers.get(graph) ?? new HeadReader(graph);
    readers.set(graph, known);
    return known;
  };
  const byPath = new Map(modules.map((module) => [module.path, module]));
  const refusalOf = (module: TaskModule): string | null => {
    const { uses, foldedInto } = module;
    const into = foldedInto === null ? undefined : byPath.get(foldedInto);
    if (into) return refusals.get(into) ?? null;
    return refusals.get(module) ?? (uses.length === 0 ? unplaced : null);
  };
  return modules.map((module) => {
    const { path, inFeatures, outFeatures, kind, names, kernel, groups, foldedNorm, stored, storedBias, uses } = module;
    const isBias = kind === "bias";
    const isNorm = kind === "norm";
    return {
      ...{ path, inFeatures, outFeatures, kind, names, kernel, groups, stored, storedBias },
      foldedNorm: foldedNorm.kind,
      hasBias:
        isBias ||
        (isNorm && uses.some(({ target }) => target.bias)) ||
        uses.some(({ graph, target }) => hasBias(readerOf(graph), target)),
      isOutput: !isBias && !isNorm && uses.every(({ graph, target }) => readerOf(graph).outputsOf(target.node).isWhole),
      biasAlone: isBias ? biasAloneOf(module) : null,
      refusal: refusalOf(module),
    };
  });
}

function biasAloneOf({ uses, foldedInto }: TaskModule): string {
  const ops = uses.map(({ target }) => target.node.op);
  if (foldedInto !== null || ops.includes("BatchNormalization")) {
    return "it is a batch normalization, which an adapter would bring with its statistics";
  }
  if (ops.includes("ConvTranspose")) return "it is a transposed convolution";
  return "nothing tells which tensor of the ONNX file is its weight (the model.safetensors of the export, next to config.json, may)";
}

const unplaced = "cannot be found in the ONNX file, so that its bias has no place there";

/** Changes with everything that the check of an adapter depends on, but not with the folder. */
export function taskTargetsKey(targets: readonly TaskTarget[], task: string): string {
  const portable = targets.map(({ stored, storedBias, ...target }) => {
    const withoutFile = (place: StoredWeight | null) => place && { ...place, file: "" };
    return { ...target, stored: withoutFile(stored), storedBias: withoutFile(storedBias) };
  });
  return createHash("sha256")
    .update(JSON.stringify([task, portable]))
    .digest("hex");
}

/** Of the layer itself, or added to its outputs. A constant of two axes is the model's, such as BART's `final_logits_bias`. */
const hasBias = (reader: HeadReader, { kind, node, bias }: WeightedNode): boolean =>
  kind === "linear" ? bias !== null : kind === "convolution" && (Boolean(node.inputs[2]) || reader.addsConstant(node));
