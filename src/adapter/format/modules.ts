/** Assigns a file's tensors to the modules that they adapt. Every tensor is used or is a fault; none is ignored silently. */

import type { StoredTensor } from "../../tensor/safetensors.js";
import { formatShape } from "../../tensor/shape.js";
import type { ReadConfig } from "./config/read.js";
import { compareModules } from "./coverage.js";
import { type Faults, quote } from "./faults.js";
import type { FeatureLog } from "./features.js";
import { parseKey } from "./keys.js";
import type { Role } from "./methods/method.js";
import type { MatrixDtype, ModulePlan, StoredExtra, StoredMatrix } from "./module-plan.js";
import { PatternBudget, PatternTable } from "./patterns.js";
import type { ResolvedModule, TargetModuleIndex } from "./target-modules.js";

interface Draft {
  readonly resolved: ResolvedModule;
  /** The path in the trained model, which the patterns apply to. */
  readonly source: string;
  a?: StoredMatrix;
  b?: StoredMatrix;
  extra?: StoredExtra;
  broken: boolean;
}

export interface PlanContext {
  readonly config: ReadConfig;
  readonly targetModules: TargetModuleIndex;
  readonly maxRank: number;
  readonly maxPatternSize: number;
  /** The alphas of an earlier check, so that no expression of the config is read: see AdapterSummary. */
  readonly alphas: readonly number[] | null;
  readonly faults: Faults;
  readonly features: FeatureLog;
  readonly warnings: string[];
}

/** In the base's order. Only modules without a structural fault, whose sizes match the base. */
export function planModules(tensors: ReadonlyMap<string, StoredTensor>, context: PlanContext): readonly ModulePlan[] {
  const { config, targetModules, faults } = context;
  const drafts = new Map<string, Draft>();
  for (const [name, tensor] of tensors) {
    const key = parseKey(name, { ...config, tableNames: targetModules.tableNames });
    if (key.kind === "unknown") faults.invalid(`tensor ${quote(name)} is neither lora_A nor lora_B of a module`);
    if (key.kind === "feature") context.features.note(key.feature, name);
    if (key.kind !== "matrix") continue;
    if (tensor.shape.length === 4) {
      context.features.note("conv", name);
      continue;
    }
    const read = readTensor(name, tensor, key, context);
    const resolved = targetModules.resolve(key.path);
    if (!resolved) {
      if (targetModules.isHead(key.path))
        faults.unsupported(
          `tensor ${quote(name)} adapts the output head; in this base it is tied to the embedding, so that is not supported`,
        );
      else faults.otherModule(key.path, `tensor ${quote(name)} matches no linear layer of the base`);
      continue;
    }
    const draft = drafts.get(resolved.path) ?? { resolved, source: key.path, broken: false };
    drafts.set(resolved.path, draft);
    place(draft, key.role, read, name, faults);
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

type DraftTensor = Pick<Draft, "a"> | Pick<Draft, "b"> | Pick<Draft, "extra">;

/** The field of the draft that the tensor fills; null if its dtype or number of axes is a fault. */
function readTensor(
  name: string,
  tensor: StoredTensor,
  { role, transposed }: { readonly role: Role; readonly transposed: boolean },
  context: PlanContext,
): DraftTensor | null {
  const { extraTensor } = context.config.method;
  const dtype = readDtype(name, tensor, context);
  if (!dtype) return null;
  const { shape } = tensor;
  if (extraTensor?.role === role) {
    if (shape.length === extraTensor.axes) return { extra: { name, dtype, shape, spec: extraTensor } };
    const allowed = extraTensor.axes === 1 ? "one axis is" : "two axes are";
    context.faults.invalid(`tensor ${quote(name)} has shape ${formatShape(shape)}; ${allowed} allowed`);
    return null;
  }
  const [rows, columns, ...rest] = shape;
  if (rows === undefined || columns === undefined || rest.length > 0) {
    context.faults.invalid(`tensor ${quote(name)} has shape ${formatShape(shape)}; two axes are allowed`);
    return null;
  }
  const matrix = { name, dtype, shape: [rows, columns], transposed } as const;
  return role === "A" ? { a: matrix } : { b: matrix };
}

function place(draft: Draft, role: Role, tensor: DraftTensor | null, name: string, faults: Faults): void {
  const other = role === "A" ? draft.a : role === "B" ? draft.b : draft.extra;
  if (other) {
    const called = "spec" in other ? other.spec.words.the : `lora_${role}`;
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
    return { ...pair, alpha, scale };
  });
  if (modules.length > 0 && modules.every(({ scale }) => scale === 0) && !config.method.hasGains) {
    warnings.push("The adapter changes nothing: every scale is 0.");
  }
  return modules;
}

/** Each module's alpha by `alpha_pattern`. Warns if the config's ranks, including `rank_pattern`, differ from the tensors'. */
function resolveAlphas(
  modules: readonly Pair[],
  { config, faults, warnings }: PlanContext,
  budget: PatternBudget,
): (number | undefined)[] {
  const { canonical, method } = config;
  const ranks = new PatternTable("rank_pattern", canonical.rank_pattern, faults, budget);
  const alphas = new PatternTable("alpha_pattern", canonical.alpha_pattern, faults, budget);
  const disagreeing = method.prunesRanks
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

interface Pair extends Omit<ModulePlan, "alpha" | "scale"> {
  readonly source: string;
}

/** null, with faults, if the pair is incomplete or does not fit. */
function checkPair(draft: Draft, context: PlanContext): Pair | null {
  const { resolved, source, a, b, extra, broken } = draft;
  const { path, module } = resolved;
  const { faults, maxRank, config } = context;
  const { extraTensor, prunesRanks } = config.method;
  const before = faults.count;
  const present = a ? "lora_A" : b ? "lora_B" : extra?.spec.words.a;
  if (!broken && !b) faults.invalid(`module ${path} has ${present} but no lora_B`);
  if (!broken && !a) faults.invalid(`module ${path} has ${present} but no lora_A`);
  if (!a || !b) return null;
  const [rank, inFeatures] = oriented(a);
  const [outFeatures, rankOfB] = oriented(b);
  if (rank !== rankOfB) faults.invalid(`module ${path} has rank ${rank} in lora_A, but rank ${rankOfB} in lora_B`);
  const least = prunesRanks ? 0 : 1;
  if (rank < least || rank > maxRank) {
    faults.invalid(`module ${path} has rank ${rank}; ${least} to ${maxRank} is allowed`);
  }
  if (extra || !broken) extraTensor?.check({ path, rank, outFeatures }, extra?.shape ?? null, faults);
  const kept = config.keptRanks.get(source);
  if (kept !== undefined && kept !== rank) {
    faults.invalid(`module ${path} has rank ${rank} in lora_A, but rank_pattern keeps ${kept}`);
  }
  if (module && inFeatures !== module.inFeatures) {
    faults.otherShape(
      path,
      `module ${path} takes ${module.inFeatures} inputs in the base, but ${inFeatures} in lora_A`,
    );
  }
  if (module && outFeatures !== module.outFeatures) {
    faults.otherShape(
      path,
      `module ${path} gives ${module.outFeatures} outputs in the base, but ${outFeatures} in lora_B`,
    );
  }
  if (broken || faults.count > before) return null;
  return { path, source, rank, inFeatures, outFeatures, a, b, extra: extra ?? null };
}

/** Sizes in PEFT's layout: [r, in] of A, [out, r] of B. */
function oriented({ shape: [rows, columns], transposed }: StoredMatrix): readonly [number, number] {
  return transposed ? [columns, rows] : [rows, columns];
}

function warnOfRemaps(drafts: ReadonlyMap<string, Draft>, warnings: string[]): void {
  const remapped = [...drafts].filter(([path, { source }]) => path !== source);
  const first = remapped[0];
  if (!first) return;
  const more = remapped.length > 1 ? `, and ${remapped.length - 1} more likewise` : "";
  warnings.push(`The module path ${quote(first[1].source)} was taken for ${quote(first[0])}${more}.`);
}
