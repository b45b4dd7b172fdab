/** Assigns a file's tensors to the modules that they adapt. Every tensor is used or is a fault; none is ignored silently. */

import type { StoredWeight } from "../../model/blueprint.js";
import type { StoredTensor } from "../../tensor/safetensors.js";
import type { FixedBias, ModuleIndex } from "./base.js";
import type { ReadConfig } from "./config/read.js";
import { compareModules } from "./coverage.js";
import { type Faults, quote } from "./faults.js";
import type { Feature, FeatureLog } from "./features.js";
import { type ParsedKey, parseKey, type SavedKey, savesModule } from "./keys.js";
import type { Role } from "./methods/method.js";
import type { AdapterPlan, CopyPlan, MatrixDtype, ModulePlan, StoredArray } from "./module-plan.js";
import { checkPair, type Draft, type DraftTensor, type Pair, readTensor } from "./pairs.js";
import { PatternBudget, PatternTable } from "./patterns.js";
import { SavedModules, untrainedBias } from "./saved.js";
import { findTies } from "./ties.js";
import { TokenTensors } from "./trained-tokens.js";

export interface PlanContext {
  readonly config: ReadConfig;
  readonly targetModules: ModuleIndex;
  readonly maxRank: number;
  readonly maxPatternSize: number;
  /** The alphas of an earlier check, so that no expression of the config is read: see AdapterSummary. */
  readonly alphas: readonly number[] | null;
  readonly faults: Faults;
  readonly features: FeatureLog;
  readonly warnings: string[];
  /** Paths of modules that the base lacks and that change nothing. */
  readonly idle: ReadonlySet<string>;
}

/** In the base's order. Only modules without a structural fault, whose sizes match the base. */
export function planModules(tensors: ReadonlyMap<string, StoredTensor>, context: PlanContext): AdapterPlan {
  const { config, targetModules, faults } = context;
  const drafts = new Map<string, Draft>();
  const savedModules = new SavedModules(targetModules, faults);
  const tokenTensors = new TokenTensors(targetModules, faults);
  const copies: CopyPlan[] = [];
  const copied = new Set<string>();
  for (const [name, tensor] of tensors) {
    const key = parseKey(name, { ...config, tableNames: targetModules.tableNames });
    if (key.kind === "unknown") faults.invalid(`tensor ${quote(name)} is neither lora_A nor lora_B of a module`);
    if (key.kind === "untrained") faults.invalid(untrainedBias(name));
    if (key.kind === "feature") context.features.note(key.feature, name);
    if (key.kind === "buffer") noteBuffer(name, context);
    if (key.kind === "tokens") {
      const dtype = readDtype(name, tensor, context);
      if (dtype) tokenTensors.add(name, tensor, dtype, key.path);
    }
    if (!isUsed(key)) continue;
    const feature = featureOf(key, tensor);
    const isWhole = key.kind === "saved" && key.as === "whole" && targetModules.takesWhole(key.path);
    if (feature === "embedding" && config.tiesWeights) context.features.note("tied_embedding", name);
    const isTaken = feature === null || targetModules.takes.has(feature) || isWhole;
    const stored = key.kind === "saved" ? copiedWeight(key, isTaken, targetModules) : null;
    if (!isTaken && stored === null) {
      reportUntaken(feature, key, name, context);
      continue;
    }
    const dtype = readDtype(name, tensor, context);
    if (stored !== null) {
      const isMarked = key.kind === "saved" && key.as === "copy";
      if (key.kind === "saved" && !isMarked) copied.add(key.path);
      if (dtype && stored !== "any") {
        const as = isMarked ? "marked" : "weight";
        const isOwn = !isMarked && key.kind === "saved" && key.part === "weight";
        const saved = isOwn ? targetModules.savedTable(key.path) : null;
        const isTied = saved !== null && config.tiesWeights && targetModules.isTiedHead(saved.path);
        const table = isTied || savesModule(config.modulesToSave, key.path) ? saved : null;
        copies.push({ name, dtype, shape: tensor.shape, of: stored, as, ...(table && { table }) });
      }
      continue;
    }
    if (key.kind === "matrix") addMatrix(drafts, { name, tensor, dtype }, key, context);
    else if (dtype) {
      // Equal to the base's, it changes nothing, but belongs to the digest: without a base nobody could tell.
      const fixed = key.as === "bias" ? targetModules.fixedBiasOf(key.path) : null;
      if (fixed) copies.push(fixedCopy({ name, dtype, shape: tensor.shape }, key.path, fixed));
      savedModules.add(name, tensor, dtype, key, fixed !== null);
    }
  }
  if (tensors.size === 0) faults.invalid("the file holds no tensors");
  const budget = new PatternBudget(faults, context.maxPatternSize);
  const modules = finish(drafts, context, budget);
  const saved = savedModules.finish(new Set(drafts.keys()));
  const tokens = tokenTensors.finish(config.trainedTokens, modules, saved);
  const ties = config.tiesWeights ? findTies(modules, targetModules, faults) : [];
  if (config.targets) {
    const known = [...drafts].filter(([path]) => !context.idle.has(path));
    const sources = new Map(known.map(([path, { source }]) => [path, source]));
    const wholes = new Set(saved.flatMap(({ path, weight }) => (weight ? [path] : [])));
    compareModules(sources, { ...context, targets: config.targets, budget, wholes, copied, ties });
  }
  warnOfRemaps(drafts, context);
  return { modules, saved, tokens, copies, ties, repeats: savedModules.repeats };
}

/** Counters and ids say nothing about what a module computes. */
function noteBuffer(name: string, { targetModules, faults, features }: PlanContext): void {
  if (!targetModules.takes.has("modules_to_save")) features.note("modules_to_save", name);
  else if (!/\.(num_batches_tracked|position_ids|token_type_ids)$/.test(name)) {
    faults.unsupported(
      `tensor ${quote(name)} is neither the weight nor the bias of a module saved whole (modules_to_save), and others are not supported`,
    );
  }
}

function fixedCopy(own: StoredArray, path: string, { stored, refusal }: FixedBias): CopyPlan {
  const copy = { ...own, of: stored, as: "bias" } as const;
  if (refusal === null) return copy;
  const trained = `tensor ${quote(own.name)} is a trained bias that differs from the base's`;
  return { ...copy, ifDifferent: `${trained}, and module ${path} ${refusal}; train with bias "lora_only"` };
}

/** The base's weight that a tensor may be a copy of, where nothing else is allowed. "any": there is no base to compare it with. */
function copiedWeight(
  { path, part, as }: SavedKey,
  isTaken: boolean,
  targetModules: ModuleIndex,
): StoredWeight | "any" | null {
  return as === "copy" || (part === "weight" && !isTaken) ? targetModules.storedOf(path, part) : null;
}

/** A feature that the base does not take. Where it lacks the module as well, that is the fault: the adapter is for another base. */
function reportUntaken(
  feature: Feature,
  { path }: { readonly path: string },
  name: string,
  { targetModules, faults, features }: PlanContext,
): void {
  const found = foreign[feature];
  if (found === undefined || targetModules.has(path)) {
    features.note(feature, name);
    return;
  }
  const fault = `tensor ${quote(name)} ${found.verb} the ${found.noun} ${path}, which this base, a language model, does not have`;
  faults.otherModule(path, fault, `the base, a language model, has no ${found.noun}`);
}

const foreign: Partial<Readonly<Record<Feature, { readonly verb: string; readonly noun: string }>>> = {
  conv: { verb: "adapts", noun: "convolution" },
  modules_to_save: { verb: "replaces", noun: "module" },
};

type UsedKey = Extract<ParsedKey, { readonly kind: "matrix" | "saved" }>;

const isUsed = (key: ParsedKey): key is UsedKey => key.kind === "matrix" || key.kind === "saved";

/** What a tensor uses besides LoRA on linear layers. */
function featureOf(key: UsedKey, { shape }: StoredTensor): Feature | null {
  if (key.kind === "saved") return key.feature;
  if (key.isTable) return "embedding";
  if (key.role === "bias") return "lora_bias";
  return shape.length === 4 ? "conv" : null;
}

function readDtype(name: string, { dtype }: StoredTensor, { faults }: PlanContext): MatrixDtype | null {
  if (dtype === "F32" || dtype === "F16" || dtype === "BF16") return dtype;
  faults.invalid(`tensor ${quote(name)} is ${dtype}; F32, F16 and BF16 are allowed`);
  return null;
}

interface NamedTensor {
  readonly name: string;
  readonly tensor: StoredTensor;
  /** null, with a fault, if it is not allowed. */
  readonly dtype: MatrixDtype | null;
}

function addMatrix(
  drafts: Map<string, Draft>,
  { name, tensor, dtype }: NamedTensor,
  key: Extract<UsedKey, { readonly kind: "matrix" }>,
  context: PlanContext,
): void {
  const { targetModules, faults, idle } = context;
  const resolved = idle.has(key.path)
    ? { path: key.path, module: null }
    : targetModules.resolve({ path: key.path, tensor: name, isTable: key.isTable }, faults);
  if (!resolved) return;
  const draft = drafts.get(resolved.path) ?? newDraft(resolved, key, tensor);
  drafts.set(resolved.path, draft);
  place(draft, key.role, dtype && readTensor(name, tensor, dtype, key, draft, context), name, faults);
}

/** Without a base, the axes of the first tensor tell a convolution. */
function newDraft(
  resolved: Draft["resolved"],
  { path, isTable }: { readonly path: string; readonly isTable: boolean },
  { shape }: StoredTensor,
): Draft {
  const kind = resolved.module?.kind ?? (isTable ? "table" : shape.length > 2 ? "convolution" : "linear");
  return { resolved, kind, source: path, broken: false };
}

const fields = { A: "a", B: "b", E: "extra", M: "extra", bias: "addedBias" } as const;

function place(draft: Draft, role: Role, tensor: DraftTensor | null, name: string, faults: Faults): void {
  const other = draft[fields[role]];
  if (other) {
    const called = "spec" in other ? other.spec.words.the : role === "bias" ? "the bias of lora_B" : `lora_${role}`;
    faults.invalid(`tensors ${quote(other.name)} and ${quote(name)} are both ${called} of ${draft.resolved.path}`);
  } else Object.assign(draft, tensor);
  if (other || !tensor) draft.broken = true;
}

function finish(
  drafts: ReadonlyMap<string, Draft>,
  context: PlanContext,
  budget: PatternBudget,
): readonly ModulePlan[] {
  const { config, faults, targetModules, warnings } = context;
  const whole: Pair[] = [];
  let pruned = 0;
  for (const draft of drafts.values()) {
    const pair = checkPair(draft, context);
    if (pair?.rank === 0) pruned++;
    else if (pair) whole.push(pair);
  }
  warnOfPruned(pruned, whole.length, context);
  const positions = targetModules.positions();
  whole.sort((left, right) => (positions.get(left.path) ?? 0) - (positions.get(right.path) ?? 0));
  const alphas = context.alphas ?? resolveAlphas(whole, context, budget);
  const modules = whole.map(({ source, ...pair }, i): ModulePlan => {
    const { scale, alpha } = config.scaling(pair.rank, alphas[alphas.length === 1 ? 0 : i]);
    if (!Number.isFinite(Math.fround(scale)))
      faults.invalid(`module ${pair.path} has scale ${scale}; a finite float32 is allowed`);
    return { ...pair, alpha, scale, isIdle: context.idle.has(pair.path) };
  });
  if (modules.length > 0 && modules.every(({ scale }) => scale === 0) && !config.method.hasGains) {
    warnings.push("The adapter changes nothing: every scale is 0.");
  }
  return modules;
}

/** Each module's alpha by `alpha_pattern`. Warns if the config's ranks, including `rank_pattern`, differ from the tensors'. */
function resolveAlphas(
  modules: readonly Pair[],
  { config, targetModules, faults, warnings }: PlanContext,
  budget: PatternBudget,
): (number | undefined)[] {
  const { canonical, method } = config;
  const ranks = new PatternTable("rank_pattern", canonical.rank_pattern, faults, budget);
  const alphas = new PatternTable("alpha_pattern", canonical.alpha_pattern, faults, budget);
  const disagreeing = method.prunesRanks
    ? []
    : modules.flatMap(({ path, source, rank }) => {
        const configured = ranks.lookup(source) ?? canonical.r;
        if (configured === rank) return [];
        if (config.tiesWeights && targetModules.isTiedHead(path)) faults.unsupported(tiedRank(path, rank, configured));
        return [`${path} has rank ${rank}, the config says ${configured}`];
      });
  if (disagreeing.length > 0) {
    const more = disagreeing.length > 1 ? `, and ${disagreeing.length - 1} more` : "";
    warnings.push(`The tensors' ranks were trusted over the config's: ${disagreeing[0]}${more}.`);
  }
  return modules.map(({ source }) => alphas.lookup(source));
}

/** PEFT divides a tied head's alpha by the rank of the config, though its tensors are those of the embeddings. */
const tiedRank = (path: string, rank: number, configured: number): string =>
  `module ${path} has the rank ${rank} of the embeddings (ensure_weight_tying), but r or rank_pattern gives it ${configured}, by which PEFT would scale it; give both the same rank`;

function warnOfPruned(pruned: number, left: number, { faults, warnings }: PlanContext): void {
  if (pruned === 0) return;
  if (left === 0 && faults.count === 0) {
    faults.invalid(`all ${pruned} modules were pruned to rank 0, so the adapter changes nothing`);
  } else {
    const what = pruned === 1 ? "1 module was" : `${pruned} modules were`;
    warnings.push(`${what} pruned to rank 0, which changes nothing.`);
  }
}

/** Names of other releases mean the same module, so task models are not warned about. */
function warnOfRemaps(drafts: ReadonlyMap<string, Draft>, { targetModules, warnings }: PlanContext): void {
  const remapped = [...drafts].filter(([path, { source }]) => !targetModules.spellingsOf(path).includes(source));
  const first = remapped[0];
  if (!first) return;
  const more = remapped.length > 1 ? `, and ${remapped.length - 1} more likewise` : "";
  warnings.push(`The module path ${quote(first[1].source)} was taken for ${quote(first[0])}${more}.`);
}
