/**
 * Examines an adapter's folder: files, config, header, modules, values, digest. Collects every fault before it throws. A visitor may
 * use the matrices on the way.
 */

import { join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import type { BaseModule } from "../../model/blueprint.js";
import { paddedRank } from "../../model/serving/rank-tiles.js";
import { tokenTileBytes } from "../../model/serving/token-rows.js";
import { dtypeSizes } from "../../tensor/dtype.js";
import { SafetensorsFile } from "../../tensor/safetensors.js";
import { elementCount } from "../../tensor/shape.js";
import type { AdapterSummary } from "../types.js";
import type { AdapterBase, ModuleIndex, TaskBase } from "./base.js";
import { type CanonicalConfig, type ReadConfig, readConfig } from "./config/config.js";
import { readContent, type Visitor } from "./content.js";
import { checkCopies, checkRepeats, trainedTables } from "./copies.js";
import { AdapterDigest } from "./digest.js";
import { Faults, quote } from "./faults.js";
import { type Feature, FeatureLog } from "./features.js";
import { configFile, surveyFolder } from "./files.js";
import { idleModules, idleWarning } from "./idle.js";
import { readLabels, unnamedLabels } from "./labels.js";
import { hostDtype } from "./layout.js";
import type { AdapterPlan, ModulePlan, SavedPlan, TokenPlan } from "./module-plan.js";
import { planModules } from "./modules.js";
import { maxPatternSize } from "./patterns.js";
import { TargetModuleIndex, targetModulesOf } from "./target-modules.js";
import { hostTaskBytes } from "./task-host.js";
import { TaskIndex } from "./task-index.js";
import { taskWarning } from "./task-types.js";
import { checkTies } from "./ties.js";

export interface AdapterLimits {
  /** Bytes of `adapter_config.json`; 1 MiB. */
  readonly maxConfigBytes: number;
  /** Bytes of the weights' JSON header; 8 MiB. */
  readonly maxHeaderBytes: number;
  /** 20,000. */
  readonly maxTensors: number;
  /** 4,096. */
  readonly maxRank: number;
  /** Maximum instructions of all compiled expressions of the config; 32,768. */
  readonly maxPatternSize: number;
}

export const adapterLimits: AdapterLimits = {
  maxConfigBytes: 2 ** 20,
  maxHeaderBytes: 2 ** 23,
  maxTensors: 20_000,
  maxRank: 4096,
  maxPatternSize,
};

export interface ExamineOptions {
  /** The base's names, for comparison with the base that the adapter names. */
  readonly baseNames?: readonly string[];
  /** How messages name the adapter: `The adapter` by default. */
  readonly label?: string;
  readonly limits?: Partial<AdapterLimits>;
  /** The expected digest of weights. Another one throws `digest_mismatch`. */
  readonly expectedDigest?: string;
  /** The alphas of the summary with `expectedDigest`: then no expression of the config is read. */
  readonly alphas?: readonly number[];
}

export interface Examined {
  /** `digest` covers what the adapter computes. */
  readonly summary: Omit<AdapterSummary, "weightsDigest">;
  readonly config: CanonicalConfig;
  /** In the base's order. */
  readonly modules: readonly ModulePlan[];
  readonly saved: readonly SavedPlan[];
  readonly tokens: readonly TokenPlan[];
  /** What a task model's outputs are called; null if the adapter does not say. */
  readonly labels: readonly string[] | null;
}

/**
 * Without a base (null) every path is accepted as it is. `startVisit` returns who uses the matrices. Throws LorikeetError.
 */
export async function examine(
  folder: string,
  base: AdapterBase | null,
  options: ExamineOptions,
  startVisit: ((plan: AdapterPlan) => Visitor) | null = null,
): Promise<Examined> {
  const label = options.label ?? "The adapter";
  const limits = { ...adapterLimits, ...options.limits };
  const faults = new Faults();
  const features = new FeatureLog();
  const warnings: string[] = [];
  const targetModules = indexOf(base);
  const { takes } = targetModules;
  const survey = await surveyFolder(folder, faults);
  const trusted = options.expectedDigest !== undefined; // the digest proves that it was accepted before
  const path = join(folder, configFile);
  const config = await readConfig(path, limits.maxConfigBytes, faults, features, warnings, { trusted });
  const file = survey.weights ? await openWeights(folder, survey.weights, limits, faults) : null;
  try {
    if (!config || !file) throw refusal(faults, features, takes, label);
    const bases = { named: config.baseName, own: options.baseNames?.[0] };
    const { maxRank, maxPatternSize } = limits;
    const idle = isTaskBase(base) ? await idleModules(file, config, targetModules) : new Set<string>();
    warnings.push(...idleWarning(idle));
    const context = { config, targetModules, faults, features, warnings, idle };
    const alphas = options.alphas ?? null;
    const plan = planModules(file.tensors, { ...context, maxRank, maxPatternSize, alphas });
    const tables = await trainedTables(file, plan, { tiesWeights: config.tiesWeights, faults });
    const tokens = [...plan.tokens, ...tables].sort((left, right) => (left.path < right.path ? -1 : 1));
    const used = { ...plan, tokens, modules: plan.modules.filter(({ isIdle }) => !isIdle) };
    if (!trusted) await checkCopies(file, plan.copies, features, faults);
    if (!trusted) await checkTies(file, plan.ties, faults);
    if (!trusted) await checkRepeats(file, plan.repeats, faults);
    features.report(faults, takes);
    requireChange(used, faults);
    const outputs = headOutputs(plan, targetModules);
    const labels = isTaskBase(base) || outputs !== null ? await readLabels(folder, outputs, faults) : null;
    if (outputs !== null && labels === null && outputs !== ownOutputs(base)) warnings.push(...unnamedLabels(outputs));
    if (faults.count > 0) {
      await readContent(file, { ...plan, tokens }, { faults, digest: null, visit: null });
      faults.throwIfAny(label, bases);
    }
    const digest = new AdapterDigest(config.canonical);
    if (labels) digest.labels(labels);
    const notes = await readContent(file, { ...plan, tokens }, { faults, digest, visit: startVisit?.(used) ?? null });
    faults.throwIfAny(label);
    const found = digest.finish();
    checkDigest(found, options.expectedDigest, label);
    warnings.push(...notes, ...baseWarning(config, options.baseNames ?? []));
    if (base !== null)
      warnings.push(...taskWarning(config.taskType, isTaskBase(base) ? (base.task ?? "tensors") : null));
    const { ignored } = survey;
    const own = isTaskBase(base) || outputs === null ? {} : { labels: outputs };
    const alphasOf = plan.modules.map(({ alpha }) => alpha);
    const rest = { digest: found, ...own, warnings, ignored };
    const summary = summarize(used, alphasOf, config.method.hasGains, base, rest);
    return { summary, config: config.canonical, ...used, labels };
  } finally {
    await file?.close();
  }
}

/** What is neither a fault nor used is a copy of the base's own weight. */
function requireChange({ modules, saved, tokens }: AdapterPlan, faults: Faults): void {
  if (modules.length > 0 || saved.length > 0 || tokens.length > 0 || faults.count > 0) return;
  faults.invalid("the file holds only copies of the base's own weights, which change nothing");
}

const isTaskBase = (base: AdapterBase | null): base is TaskBase => base !== null && "targets" in base;

const indexOf = (base: AdapterBase | null): ModuleIndex =>
  isTaskBase(base) ? new TaskIndex(base.targets) : new TargetModuleIndex(base);

/** The outputs of the one head that the adapter saves; null if there is not one. */
function headOutputs({ saved }: AdapterPlan, targetModules: ModuleIndex): number | null {
  const heads = saved.filter(({ path, weight }) => weight && targetModules.isOutput(path));
  return heads.length === 1 ? (heads[0]?.outFeatures ?? null) : null;
}

/** The outputs of the base's own head, whose labels an adapter without names keeps; null if the base has none. */
function ownOutputs(base: AdapterBase | null): number | null {
  if (isTaskBase(base)) return base.targets.find(({ isOutput }) => isOutput)?.outFeatures ?? null;
  return base?.find(({ role }) => role === "score")?.outFeatures || null;
}

async function openWeights(
  folder: string,
  name: string,
  limits: AdapterLimits,
  faults: Faults,
): Promise<SafetensorsFile | null> {
  try {
    return await SafetensorsFile.open(join(folder, name), { ...limits, label: name });
  } catch (cause) {
    if (!(cause instanceof LorikeetError) || cause.code === "no_file_handles") throw cause;
    faults.invalid(cause.message.replace(/\.$/, ""));
    return null;
  }
}

function refusal(faults: Faults, features: FeatureLog, takes: ReadonlySet<Feature>, label: string): LorikeetError {
  features.report(faults, takes);
  try {
    faults.throwIfAny(label);
  } catch (error) {
    if (error instanceof LorikeetError) return error;
    throw error;
  }
  return new LorikeetError("internal", `${label} could not be examined, and no fault was found.`);
}

function checkDigest(found: string, expected: string | undefined, label: string): void {
  if (expected === undefined || expected === found) return;
  throw new LorikeetError("digest_mismatch", `${label} has the digest ${found}; ${expected} was expected.`, {
    found,
    allowed: expected,
  });
}

/** Names are compared by their last segment, since many are paths or have an owner. */
function baseWarning({ baseName }: ReadConfig, expected: readonly string[]): string[] {
  const [first] = expected;
  if (baseName === null || baseName === "" || first === undefined) return [];
  const known = expected.map(lastSegment);
  if (known.includes(lastSegment(baseName))) return [];
  return [`The adapter names ${quote(baseName)} as its base; this base is ${quote(first)}.`];
}

function lastSegment(name: string): string {
  const trimmed = name.replace(/[/\\]+$/, "");
  return trimmed.slice(Math.max(trimmed.lastIndexOf("/"), trimmed.lastIndexOf("\\")) + 1).toLowerCase();
}

function summarize(
  { modules, saved, tokens }: Pick<AdapterPlan, "modules" | "saved" | "tokens">,
  alphas: readonly number[],
  hasGains: boolean,
  base: AdapterBase | null,
  rest: Pick<AdapterSummary, "digest" | "labels" | "warnings" | "ignored">,
): Omit<AdapterSummary, "weightsDigest"> {
  const rank = modules.reduce((most, module) => Math.max(most, module.rank), 0);
  const scales = modules.map(({ scale }) => scale);
  const isOfDecoder = base !== null && !isTaskBase(base);
  const hasBiases =
    modules.some(({ addedBias }) => addedBias) || saved.some(({ weight, isNorm }) => !weight && !isNorm);
  const isOfTask = !isOfDecoder && (base !== null || saved.length > 0 || modules.some(({ kind }) => kind !== "linear"));
  const bytes = isOfTask
    ? hostTaskBytes({ modules, saved, tokens })
    : hostBytes(modules) + hostTaskBytes({ modules: [], saved, tokens: [] }) + sum(tokens.map(tokenBytes));
  return {
    rank,
    dora: hasGains,
    modules: new Set([...modules, ...saved, ...tokens].map(({ path }) => path)).size,
    bytes,
    activeBytes: isOfTask
      ? bytes
      : activeBytes(modules.filter(isLinear), isTaskBase(base) ? null : base, hasGains || hasBiases) +
        (saved.some(({ isNorm }) => isNorm) ? normBytes(base) : 0) +
        sum(tokens.filter(({ inHead }) => inHead).map(tokenBytes)),
    scales: modules.length === 0 ? { min: 0, max: 0 } : { min: Math.min(...scales), max: Math.max(...scales) },
    alphas: new Set(alphas).size === 1 ? alphas.slice(0, 1) : alphas,
    ...rest,
  };
}

const normBytes = (base: AdapterBase | null): number =>
  base === null || isTaskBase(base)
    ? 0
    : dtypeSizes.F32 * sum(base.flatMap(({ role, outFeatures }) => (role === "norm" ? [outFeatures] : [])));

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

const tokenBytes = ({ rows }: TokenPlan): number => tokenTileBytes(rows.shape[0] ?? 0, rows.shape[1] ?? 0);

const isLinear = ({ kind }: ModulePlan): boolean => kind === "linear";

/** An adapter of a table is used in host memory, in float32. */
function hostBytes(modules: readonly ModulePlan[]): number {
  let bytes = hostTaskBytes({ modules: modules.filter((module) => !isLinear(module)), saved: [], tokens: [] });
  for (const module of modules.filter(isLinear)) {
    bytes += module.rank * (module.inFeatures + module.outFeatures) * dtypeSizes[hostDtype(module)];
    if (module.extra && !module.extra.spec.isFoldedIntoA) bytes += elementCount(module.extra.shape) * dtypeSizes.F32;
    if (module.addedBias) bytes += elementCount(module.addedBias.shape) * dtypeSizes.F32;
  }
  return bytes;
}

/** In the active set an adapter takes every target module of the base, at its largest rank; a tied head only if it adapts that. */
function activeBytes(modules: readonly ModulePlan[], base: readonly BaseModule[] | null, hasGains: boolean): number {
  const rank = modules.reduce((most, module) => Math.max(most, module.rank), 1);
  const adapted = new Set(modules.map(({ path }) => path));
  const isActive = ({ role, path }: BaseModule): boolean => role !== "tied_head" || adapted.has(path);
  const active = base ? targetModulesOf(base).filter(isActive) : modules;
  const width = active.reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures + outFeatures, 0);
  const gains = hasGains ? active.reduce((sum, { outFeatures }) => sum + outFeatures, 0) : 0;
  return (paddedRank(rank) * width + gains) * dtypeSizes.F32;
}
