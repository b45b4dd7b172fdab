/** Chooses what training changes in a task model: modules with adapters, and heads that are saved whole. */

import { methodOf } from "../../adapter/format.js";
import { LorikeetError } from "../../base/errors.js";
import { last } from "../../base/list.js";
import { pruneGraph } from "../../graph/prune.js";
import type { Graph } from "../../graph/types.js";
import type { TaskTarget } from "../../model/task/adapter-targets.js";
import { HeadReader } from "../../model/task/head-outputs.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import type { LoraForm, TrainedTarget } from "../../model/task/trained-modules.js";
import { takesProduct } from "../../model/task/weighted-nodes.js";
import { allLinear, type LoraShape } from "../lora.js";

/** A module of the base, with what the server says about it. */
export interface BaseModuleFacts {
  readonly module: TaskModule;
  readonly target: TaskTarget;
}

/** A layer that starts at random, in the place of the one that gives an output. */
export interface FreshHead {
  readonly output: string;
  /** How many values it gives for a row. */
  readonly width: number;
}

export interface ChooseOptions {
  readonly graph: Graph;
  readonly base: readonly BaseModuleFacts[];
  /** The outputs that the loss reads. */
  readonly outputs: readonly string[];
  /** `all-linear`, or names and paths: each selects the modules whose path equals it or ends in it. */
  readonly names: readonly string[];
  /** Names of modules that are saved whole; null: the heads of tasks that have one. */
  readonly saved: readonly string[] | null;
  /** Whether the layers that give the outputs are saved whole by default. */
  readonly savesHeads: boolean;
  /** null: the base's. */
  readonly freshHead: FreshHead | null;
  readonly shape: LoraShape;
  readonly dora: boolean;
  readonly dropout: number;
}

/** In the order of the graph. Throws `invalid_value` for a name that selects nothing that can be trained. */
export function chooseTargets(options: ChooseOptions): TrainedTarget[] {
  requireFloats(options.base);
  const { graph, names, saved, savesHeads, shape, dora, dropout } = options;
  const reached = reachedModules(options);
  const heads = reached.filter(({ module }) => isHead(graph, module, options.outputs));
  const whole = saved === null ? (savesHeads ? heads : []) : selected(reached, saved, "--modules-to-save");
  const rest = reached.filter((each) => !whole.includes(each));
  const isDefault = names.length === 1 && names[0] === allLinear;
  // An adapter of a convolution with groups could not be merged, by PEFT neither.
  const isUsual = ({ kind, groups }: TaskModule): boolean => kind !== "table" && groups === 1;
  const adapted = isDefault
    ? rest.filter((each) => isUsual(each.module) && !heads.includes(each) && refusalOf(each, options) === null)
    : selected(rest, names, "--target-modules");
  for (const each of isDefault ? [] : adapted) requireTrainable(each, options);
  const scale = methodOf({ peft_type: "LORA", use_rslora: shape.rslora }).scaleOf(shape.alpha, shape.rank);
  const form: LoraForm = { kind: "lora", rank: shape.rank, alpha: shape.alpha, scale, dora, dropout };
  const { freshHead } = options;
  if (freshHead) requireHead(freshHead, heads, whole);
  return reached.flatMap((each): TrainedTarget[] => {
    const { module, target } = each;
    if (adapted.includes(each)) return [{ module, form }];
    if (!whole.includes(each)) return [];
    const isFresh = freshHead !== null && isHead(graph, module, [freshHead.output]);
    const outFeatures = isFresh ? freshHead.width : module.outFeatures;
    const hasBias = target.hasBias && target.foldedNorm !== "measured";
    return [{ module, form: { kind: "whole", outFeatures, hasBias, isFresh } }];
  });
}

/** Throws unless a new head has a layer whose place it takes, and is saved. */
function requireHead(
  { output }: FreshHead,
  heads: readonly BaseModuleFacts[],
  whole: readonly BaseModuleFacts[],
): void {
  if (heads.some((head) => whole.includes(head))) return;
  if (heads.length === 0) {
    const message = `The model has no classification layer for the labels: none gives its output ${output}. Export the class that has one, such as BertForSequenceClassification for texts.`;
    throw new LorikeetError("model_unsupported", message, { param: "--model", found: output });
  }
  const paths = heads.map(({ module }) => module.path).join(", ");
  const message = `--modules-to-save must name the layer that gives the labels (${paths}): --labels makes a new one.`;
  throw new LorikeetError("invalid_value", message, { param: "--modules-to-save", allowed: paths });
}

/** Throws `model_unsupported` for a file of another precision: its weights have no gradients. */
function requireFloats(base: readonly BaseModuleFacts[]): void {
  const types = new Set(base.flatMap(({ module }) => module.uses.map(({ target }) => target.weight.value.type)));
  if (types.size === 0 || types.has("float32")) return;
  const found = [...types].join(", ");
  const message = `The model's weights are of type ${found}; training takes float32, such as the file without a suffix has.`;
  throw new LorikeetError("model_unsupported", message, { found, allowed: "float32" });
}

/** The modules on the way to the outputs. */
function reachedModules({ graph, base, outputs }: ChooseOptions): BaseModuleFacts[] {
  const kept = pruneGraph({ ...graph, outputs: graph.outputs.filter(({ name }) => outputs.includes(name)) });
  const nodes = new Set(kept.nodes);
  return base.filter(
    ({ module }) => takesProduct(module.kind) && module.uses.some(({ target }) => nodes.has(target.node)),
  );
}

/** Whether a layer gives one of the outputs itself. */
export function isHead(graph: Graph, { uses }: TaskModule, outputs: readonly string[]): boolean {
  const reader = new HeadReader(graph);
  return uses.some(({ target }) => reader.outputsOf(target.node).names.some((name) => outputs.includes(name)));
}

/** Why a module takes no adapter of these options: a clause; null if it does. */
function refusalOf(
  { module, target }: BaseModuleFacts,
  { shape, dora }: Pick<ChooseOptions, "shape" | "dora">,
): string | null {
  if (target.refusal !== null) return target.refusal;
  if (module.foldedNorm.kind === "unknown") {
    return "may hold a folded batch normalization whose factor is unknown; put the model.safetensors of the export next to config.json, or set foldedNorms to false in lorikeet.json if the model has no such normalization";
  }
  if (shape.rank % module.groups !== 0) {
    return `has ${module.groups} groups, which do not divide the rank ${shape.rank}`;
  }
  if (dora && module.kind === "table") return "is a table, which --use-dora does not train";
  return dora && module.groups > 1 ? "has groups, which --use-dora does not train" : null;
}

function requireTrainable(each: BaseModuleFacts, options: ChooseOptions): void {
  const refusal = refusalOf(each, options);
  if (refusal === null) return;
  const { path } = each.module;
  throw new LorikeetError("invalid_value", `--target-modules ${path} ${refusal}.`, {
    param: "--target-modules",
    found: path,
  });
}

function selected(base: readonly BaseModuleFacts[], names: readonly string[], option: string): BaseModuleFacts[] {
  const isNamed = ({ module }: BaseModuleFacts, name: string): boolean =>
    [module.path, ...module.names.map(({ path }) => path)].some((path) => path === name || path.endsWith(`.${name}`));
  const unknown = names.filter((name) => !base.some((each) => isNamed(each, name)));
  if (unknown.length > 0) {
    const allowed = [...new Set(base.map(({ module }) => last(module.path.split("."))))];
    const all = option === "--target-modules" ? ` ${allLinear} selects all but the head.` : "";
    throw new LorikeetError(
      "invalid_value",
      `${option} ${unknown.join(", ")} matches no module of the model; it has ${allowed.join(", ")}.${all}`,
      { param: option, found: unknown, allowed },
    );
  }
  return base.filter((each) => names.some((name) => isNamed(each, name)));
}
