/**
 * Examines an adapter's folder: files, config, header, modules, values, digest. Collects every fault before it throws. A visitor may
 * use the matrices on the way.
 */

import { join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import type { BaseModule, TargetModule } from "../../model/blueprint.js";
import { paddedRank } from "../../model/serving/rank-tiles.js";
import { dtypeSizes } from "../../tensor/dtype.js";
import { SafetensorsFile } from "../../tensor/safetensors.js";
import { elementCount } from "../../tensor/shape.js";
import type { AdapterSummary } from "../types.js";
import { type CanonicalConfig, type ReadConfig, readConfig } from "./config/config.js";
import { readContent, type Visitor } from "./content.js";
import { AdapterDigest } from "./digest.js";
import { Faults, quote } from "./faults.js";
import { FeatureLog } from "./features.js";
import { configFile, surveyFolder } from "./files.js";
import { hostDtype } from "./layout.js";
import type { AdapterMethod } from "./methods/method.js";
import type { ModulePlan } from "./module-plan.js";
import { planModules } from "./modules.js";
import { maxPatternSize } from "./patterns.js";
import { TargetModuleIndex, targetModulesOf } from "./target-modules.js";

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
}

/** Without a base (null) every path is accepted as it is. Throws LorikeetError. */
export async function examine(
  folder: string,
  base: readonly BaseModule[] | null,
  options: ExamineOptions,
  visit: Visitor | null = null,
): Promise<Examined> {
  const label = options.label ?? "The adapter";
  const limits = { ...adapterLimits, ...options.limits };
  const faults = new Faults();
  const features = new FeatureLog();
  const warnings: string[] = [];
  const survey = await surveyFolder(folder, faults);
  const trusted = options.expectedDigest !== undefined; // the digest proves that it was accepted before
  const path = join(folder, configFile);
  const config = await readConfig(path, limits.maxConfigBytes, faults, features, warnings, { trusted });
  const file = survey.weights ? await openWeights(folder, survey.weights, limits, faults) : null;
  try {
    if (!config || !file) throw refusal(faults, features, label);
    const bases = { named: config.baseName, own: options.baseNames?.[0] };
    const { maxRank, maxPatternSize } = limits;
    const context = { config, targetModules: new TargetModuleIndex(base), faults, features, warnings };
    const alphas = options.alphas ?? null;
    const modules = planModules(file.tensors, { ...context, maxRank, maxPatternSize, alphas });
    features.report(faults);
    if (faults.count > 0) {
      await readContent(file, modules, { faults, digest: null, visit: null });
      faults.throwIfAny(label, bases);
    }
    const digest = new AdapterDigest(config.canonical);
    const notes = await readContent(file, modules, { faults, digest, visit });
    faults.throwIfAny(label);
    const found = digest.finish();
    checkDigest(found, options.expectedDigest, label);
    warnings.push(...notes, ...baseWarning(config, options.baseNames ?? []));
    const summary = summarize(modules, config.method, base && targetModulesOf(base), found, warnings, survey.ignored);
    return { summary, config: config.canonical, modules };
  } finally {
    await file?.close();
  }
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

function refusal(faults: Faults, features: FeatureLog, label: string): LorikeetError {
  features.report(faults);
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
  modules: readonly ModulePlan[],
  { hasGains }: AdapterMethod,
  targetModules: readonly TargetModule[] | null,
  digest: string,
  warnings: readonly string[],
  ignored: readonly string[],
): Omit<AdapterSummary, "weightsDigest"> {
  let bytes = 0;
  for (const module of modules) {
    bytes += module.rank * (module.inFeatures + module.outFeatures) * dtypeSizes[hostDtype(module)];
    if (module.extra && !module.extra.spec.isFoldedIntoA) bytes += elementCount(module.extra.shape) * dtypeSizes.F32;
  }
  const rank = Math.max(...modules.map((module) => module.rank));
  // In the active set an adapter takes every target module of the base, at its largest rank.
  const active = targetModules ?? modules;
  const width = active.reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures + outFeatures, 0);
  const gains = hasGains ? active.reduce((sum, { outFeatures }) => sum + outFeatures, 0) : 0;
  const scales = modules.map(({ scale }) => scale);
  const alphas = modules.map(({ alpha }) => alpha);
  return {
    digest,
    rank,
    dora: hasGains,
    modules: modules.length,
    bytes,
    activeBytes: (paddedRank(rank) * width + gains) * dtypeSizes.F32,
    scales: { min: Math.min(...scales), max: Math.max(...scales) },
    alphas: new Set(alphas).size === 1 ? alphas.slice(0, 1) : alphas,
    warnings,
    ignored,
  };
}
