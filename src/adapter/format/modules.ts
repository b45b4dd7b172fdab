/**
 * From the tensors of a file to the modules they adapt. Every tensor is used or is a fault: nothing is dropped in silence.
 */

import type { StoredTensor } from "../../tensor/safetensors.js";
import { formatShape } from "../../tensor/shape.js";
import type { ReadConfig } from "./canonical.js";
import { compareModules } from "./coverage.js";
import { type Faults, quote } from "./faults.js";
import type { FeatureLog } from "./features.js";
import { parseKey } from "./keys.js";
import { PatternBudget, PatternTable } from "./patterns.js";
import type { ResolvedSite, SiteIndex } from "./sites.js";

export type MatrixDtype = "F32" | "F16" | "BF16";

export interface Matrix {
  /** As in the file. */
  readonly name: string;
  readonly dtype: MatrixDtype;
  readonly shape: readonly [number, number];
  /** mlx-lm's layout: A [in, r], B [r, out]. */
  readonly transposed: boolean;
}

/** DoRA's magnitudes: [out]. */
export interface Vector {
  readonly name: string;
  readonly dtype: MatrixDtype;
  readonly shape: readonly [number];
}

export interface ModulePlan {
  /** The base's linear site. */
  readonly path: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly rank: number;
  readonly alpha: number;
  /** alpha / rank, alpha / sqrt(rank) with rsLoRA. */
  readonly scale: number;
  readonly a: Matrix;
  readonly b: Matrix;
  /** AdaLoRA's [r, 1], which scales the rows of A. */
  readonly e: Matrix | null;
  /** DoRA's magnitude of each output. */
  readonly m: Vector | null;
}

interface Draft {
  readonly resolved: ResolvedSite;
  /** The path in the model that was trained: what the patterns were written for. */
  readonly source: string;
  a?: Matrix;
  b?: Matrix;
  e?: Matrix;
  m?: Vector;
  broken: boolean;
}

export interface PlanContext {
  readonly config: ReadConfig;
  readonly sites: SiteIndex;
  readonly maxRank: number;
  readonly maxPatternSize: number;
  /** What an earlier look at the same adapter found, so that no expression of the config is read: see AdapterSummary. */
  readonly alphas: readonly number[] | null;
  readonly faults: Faults;
  readonly features: FeatureLog;
  readonly warnings: string[];
}

/** In the base's order; only those without a structural fault, whose sizes are the base's. */
export function planModules(tensors: ReadonlyMap<string, StoredTensor>, context: PlanContext): readonly ModulePlan[] {
  const { config, sites, faults } = context;
  const dora = config.canonical.use_dora === true;
  const drafts = new Map<string, Draft>();
  for (const [name, tensor] of tensors) {
    const key = parseKey(name, { ...config, method: config.canonical.peft_type, dora });
    if (key.kind === "unknown") faults.invalid(`tensor ${quote(name)} is neither lora_A nor lora_B of a module`);
    if (key.kind === "feature") context.features.note(key.feature, name);
    if (key.kind !== "matrix") continue;
    if (tensor.shape.length === 4) {
      context.features.note("conv", name);
      continue;
    }
    const isVector = key.role === "M";
    const matrix = isVector ? null : readMatrix(name, tensor, key.transposed, context);
    const vector = isVector ? readVector(name, tensor, context) : null;
    const resolved = sites.resolve(key.path);
    if (!resolved) {
      const isHead = /(^|\.)lm_head$/.test(key.path);
      if (isHead)
        faults.unsupported(
          `tensor ${quote(name)} adapts the output head; in this base it is tied to the embedding, so that is not supported`,
        );
      else faults.invalid(`tensor ${quote(name)} matches no linear layer of the base`);
      continue;
    }
    const draft = drafts.get(resolved.path) ?? { resolved, source: key.path, broken: false };
    drafts.set(resolved.path, draft);
    if (key.role === "M") place(draft, "m", vector, name, faults);
    else place(draft, slots[key.role], matrix, name, faults);
  }
  if (tensors.size === 0) faults.invalid("the file holds no tensors");
  const budget = new PatternBudget(faults, context.maxPatternSize);
  const modules = finish(drafts, context, budget);
  if (config.targets) {
    const sources = new Map([...drafts].map(([path, { source }]) => [path, source]));
    compareModules(sources, { ...context, targets: config.targets, budget });
  }
  warnOfRemaps(drafts, context.warnings);
  return modules;
}

function readDtype(name: string, { dtype }: StoredTensor, { faults }: PlanContext): MatrixDtype | null {
  if (dtype === "F32" || dtype === "F16" || dtype === "BF16") return dtype;
  faults.invalid(`tensor ${quote(name)} is ${dtype}; F32, F16 and BF16 are allowed`);
  return null;
}

function readVector(name: string, tensor: StoredTensor, context: PlanContext): Vector | null {
  const dtype = readDtype(name, tensor, context);
  if (!dtype) return null;
  const [size, ...rest] = tensor.shape;
  if (size !== undefined && rest.length === 0) return { name, dtype, shape: [size] };
  context.faults.invalid(`tensor ${quote(name)} has shape ${formatShape(tensor.shape)}; one axis is allowed`);
  return null;
}

function readMatrix(name: string, tensor: StoredTensor, transposed: boolean, context: PlanContext): Matrix | null {
  const dtype = readDtype(name, tensor, context);
  if (!dtype) return null;
  const { shape } = tensor;
  const [rows, columns, ...rest] = shape;
  if (rows === undefined || columns === undefined || rest.length > 0) {
    context.faults.invalid(`tensor ${quote(name)} has shape ${formatShape(shape)}; two axes are allowed`);
    return null;
  }
  return { name, dtype, shape: [rows, columns], transposed };
}

const slots = { A: "a", B: "b", E: "e" } as const;

const called = { a: "lora_A", b: "lora_B", e: "lora_E", m: "the magnitude" } as const;

function place<S extends keyof typeof called>(
  draft: Draft,
  slot: S,
  tensor: Draft[S] | null,
  name: string,
  faults: Faults,
): void {
  const other = draft[slot];
  if (other) {
    faults.invalid(
      `tensors ${quote(other.name)} and ${quote(name)} are both ${called[slot]} of ${draft.resolved.path}`,
    );
  } else if (tensor) draft[slot] = tensor;
  if (other || !tensor) draft.broken = true;
}

function finish(
  drafts: ReadonlyMap<string, Draft>,
  context: PlanContext,
  budget: PatternBudget,
): readonly ModulePlan[] {
  const { config, faults, sites, warnings } = context;
  const whole: Pair[] = [];
  let pruned = 0;
  for (const draft of drafts.values()) {
    const pair = checkPair(draft, context);
    if (pair?.rank === 0) pruned++;
    else if (pair) whole.push(pair);
  }
  warnOfPruned(pruned, whole.length, context);
  const order = sites.order();
  whole.sort((left, right) => (order.get(left.path) ?? 0) - (order.get(right.path) ?? 0));
  const alphas = context.alphas ?? resolveAlphas(whole, context, budget);
  const modules = whole.map(({ source, ...pair }, i): ModulePlan => {
    const { scale, alpha } = scaleOf(pair.rank, alphas[alphas.length === 1 ? 0 : i], config);
    if (!Number.isFinite(Math.fround(scale)))
      faults.invalid(`module ${pair.path} has scale ${scale}; a finite float32 is allowed`);
    return { ...pair, alpha, scale };
  });
  if (modules.length > 0 && modules.every(({ scale, m }) => scale === 0 && !m)) {
    warnings.push("The adapter changes nothing: every scale is 0.");
  }
  return modules;
}

/** What `alpha_pattern` gives each module; warns where the config's ranks, `rank_pattern` included, are not the tensors'. */
function resolveAlphas(
  modules: readonly Pair[],
  { config, faults, warnings }: PlanContext,
  budget: PatternBudget,
): (number | undefined)[] {
  const { canonical } = config;
  const ranks = new PatternTable("rank_pattern", canonical.rank_pattern, faults, budget);
  const alphas = new PatternTable("alpha_pattern", canonical.alpha_pattern, faults, budget);
  const disagreeing =
    canonical.peft_type === "ADALORA"
      ? []
      : modules.flatMap(({ path, source, rank }) => {
          const configured = ranks.lookup(source) ?? canonical.r;
          return configured === rank ? [] : [`${path} has rank ${rank}, the config says ${configured}`];
        });
  if (disagreeing.length > 0) {
    const more = disagreeing.length > 1 ? `, and ${disagreeing.length - 1} more` : "";
    warnings.push(`The tensors' ranks were trusted over the config's: ${disagreeing[0]}${more}.`);
  }
  return modules.map(({ source }) => alphas.lookup(source));
}

function warnOfPruned(pruned: number, left: number, { faults, warnings }: PlanContext): void {
  if (pruned === 0) return;
  if (left === 0 && faults.count === 0) {
    faults.invalid(`all ${pruned} modules were pruned to rank 0, so the adapter changes nothing`);
  } else {
    const what = pruned === 1 ? "1 module was" : `${pruned} modules were`;
    warnings.push(`${what} pruned to rank 0, which changes nothing.`);
  }
}

function scaleOf(rank: number, patterned: number | undefined, config: ReadConfig): { scale: number; alpha: number } {
  if (config.scaleOf !== null) return { scale: config.scaleOf(rank), alpha: config.scaleOf(rank) * rank };
  const alpha = patterned ?? config.canonical.lora_alpha;
  return { scale: alpha / (config.canonical.use_rslora ? Math.sqrt(rank) : rank), alpha };
}

interface Pair extends Omit<ModulePlan, "alpha" | "scale"> {
  readonly source: string;
}

/** null when the pair is not whole or does not fit; the reasons are among the faults. */
function checkPair(draft: Draft, context: PlanContext): Pair | null {
  const { resolved, source, a, b, broken } = draft;
  const { path, site } = resolved;
  const { faults, maxRank } = context;
  const isAdaLora = context.config.canonical.peft_type === "ADALORA";
  const before = faults.count;
  if (!broken && !b) faults.invalid(`module ${path} has ${a ? "lora_A" : "a magnitude"} but no lora_B`);
  if (!broken && !a) faults.invalid(`module ${path} has ${b ? "lora_B" : "a magnitude"} but no lora_A`);
  if (!a || !b) return null;
  const [rank, inFeatures] = oriented(a);
  const [outFeatures, rankOfB] = oriented(b);
  if (rank !== rankOfB) faults.invalid(`module ${path} has rank ${rank} in lora_A, but rank ${rankOfB} in lora_B`);
  const least = isAdaLora ? 0 : 1;
  if (rank < least || rank > maxRank) {
    faults.invalid(`module ${path} has rank ${rank}; ${least} to ${maxRank} is allowed`);
  }
  if (isAdaLora) checkSingularValues(draft, rank, context);
  if (context.config.canonical.use_dora) checkMagnitudes(draft, outFeatures, faults);
  if (site && inFeatures !== site.inFeatures) {
    faults.invalid(`module ${path} takes ${site.inFeatures} inputs in the base, but ${inFeatures} in lora_A`);
  }
  if (site && outFeatures !== site.outFeatures) {
    faults.invalid(`module ${path} gives ${site.outFeatures} outputs in the base, but ${outFeatures} in lora_B`);
  }
  if (broken || faults.count > before) return null;
  return { path, source, rank, inFeatures, outFeatures, a, b, e: draft.e ?? null, m: draft.m ?? null };
}

/** DoRA: one for each output, of every module. */
function checkMagnitudes({ resolved: { path }, m, broken }: Draft, outFeatures: number, faults: Faults): void {
  if (!m && !broken) faults.invalid(`module ${path} has no lora_magnitude_vector, though use_dora is set`);
  if (m && m.shape[0] !== outFeatures) {
    faults.invalid(
      `module ${path} has ${m.shape[0]} magnitudes; one for each of its ${outFeatures} outputs is allowed`,
    );
  }
}

/** AdaLoRA: lora_E is [rank, 1], and the rank is what pruning left. */
function checkSingularValues(
  { resolved: { path }, source, e, broken }: Draft,
  rank: number,
  context: PlanContext,
): void {
  const { faults, config } = context;
  if (!e && !broken) faults.invalid(`module ${path} has lora_A but no lora_E`);
  if (e && (e.shape[0] !== rank || e.shape[1] !== 1)) {
    faults.invalid(`module ${path} has shape ${formatShape(e.shape)} in lora_E; ${formatShape([rank, 1])} is allowed`);
  }
  const kept = config.keptRanks.get(source);
  if (kept !== undefined && kept !== rank) {
    faults.invalid(`module ${path} has rank ${rank} in lora_A, but rank_pattern keeps ${kept}`);
  }
}

/** PEFT's sizes: [r, in] of A, [out, r] of B. */
function oriented({ shape: [rows, columns], transposed }: Matrix): readonly [number, number] {
  return transposed ? [columns, rows] : [rows, columns];
}

function warnOfRemaps(drafts: ReadonlyMap<string, Draft>, warnings: string[]): void {
  const remapped = [...drafts].filter(([path, { source }]) => path !== source);
  const first = remapped[0];
  if (!first) return;
  const more = remapped.length > 1 ? `, and ${remapped.length - 1} more likewise` : "";
  warnings.push(`The module path ${quote(first[1].source)} was taken for ${quote(first[0])}${more}.`);
}
