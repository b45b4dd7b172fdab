/**
 * The one way through an adapter's folder: files, config, header, modules, values, digest. Collects every fault before it
 * throws. What is done with the matrices on the way is the caller's business.
 */

import { join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { paddedRank } from "../../model/rank-tiles.js";
import type { LinearSite } from "../../model/types.js";
import { dtypeSizes } from "../../tensor/dtype.js";
import { SafetensorsFile } from "../../tensor/safetensors.js";
import { streamTensors } from "../../tensor/safetensors-stream.js";
import type { AdapterSummary } from "../types.js";
import { type CanonicalConfig, type ReadConfig, readConfig } from "./config.js";
import { AdapterDigest } from "./digest.js";
import { Faults, quote } from "./faults.js";
import { FeatureLog } from "./features.js";
import { configFile, surveyFolder } from "./files.js";
import { elementsOf, hostDtype, peftLayout } from "./layout.js";
import { type Matrix, type ModulePlan, type PlannedAdapter, planModules } from "./modules.js";
import { SiteIndex } from "./sites.js";
import { summarizeValues, type ValueSummary } from "./values.js";

export interface AdapterLimits {
  /** Bytes of `adapter_config.json`; 1 MiB. */
  readonly maxConfigBytes: number;
  /** Bytes of JSON at the head of the weights; 8 MiB. */
  readonly maxHeaderBytes: number;
  /** 20,000. */
  readonly maxTensors: number;
  /** 4,096. */
  readonly maxRank: number;
}

const defaults: AdapterLimits = { maxConfigBytes: 2 ** 20, maxHeaderBytes: 2 ** 23, maxTensors: 20_000, maxRank: 4096 };

export interface ExamineOptions {
  /** The base's names, to compare with what the adapter says it was trained on. */
  readonly baseNames?: readonly string[];
  /** How messages name the adapter: `The adapter` unless told otherwise. */
  readonly label?: string;
  readonly limits?: Partial<AdapterLimits>;
  /** Throws `digest_mismatch` when the content has another digest. */
  readonly expectedDigest?: string;
}

export interface Examined {
  readonly summary: AdapterSummary;
  readonly config: CanonicalConfig;
  /** In the base's order. */
  readonly modules: readonly ModulePlan[];
}

type Elements = Float32Array | Uint16Array;
/** Told of each module once its values are known to be sound; the arrays, in the file's layout, are the visitor's only until it returns. */
type Visitor = (module: ModulePlan, a: Elements, b: Elements, e: Elements | null) => void;

/** `sites` null: no base is at hand and every path is taken as it is. Throws LorikeetError. */
export async function examine(
  folder: string,
  sites: readonly LinearSite[] | null,
  options: ExamineOptions,
  visit: Visitor = () => {},
): Promise<Examined> {
  const label = options.label ?? "The adapter";
  const limits = { ...defaults, ...options.limits };
  const faults = new Faults();
  const features = new FeatureLog();
  const warnings: string[] = [];
  const survey = await surveyFolder(folder, faults);
  const config = await readConfig(join(folder, configFile), limits.maxConfigBytes, faults, features, warnings);
  const file = survey.weights ? await openWeights(folder, survey.weights, limits, faults) : null;
  try {
    if (!config || !file) throw refusal(faults, features, label);
    const context = { config, sites: new SiteIndex(sites), maxRank: limits.maxRank, faults, features, warnings };
    const plan = planModules(file.tensors, context);
    features.report(faults);
    if (faults.count > 0) {
      await checkValues(file, plan, faults);
      faults.throwIfAny(label);
    }
    const content = await readContent(file, plan, config.canonical, faults, visit);
    faults.throwIfAny(label);
    checkDigest(content.digest, options.expectedDigest, label);
    warnings.push(...content.warnings, ...baseWarning(config, options.baseNames ?? []));
    const summary = summarize(plan.modules, sites, content.digest, warnings, survey.ignored);
    return { summary, config: config.canonical, modules: plan.modules };
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
    if (!(cause instanceof LorikeetError)) throw cause;
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

/** The values of an adapter that is refused already: nothing is hashed or kept. */
async function checkValues(file: SafetensorsFile, plan: PlannedAdapter, faults: Faults): Promise<void> {
  const matrices = new Map(plan.matrices.map((matrix) => [matrix.name, matrix]));
  for await (const { name, bytes } of streamTensors(file, matrices.keys())) {
    const matrix = matrices.get(name);
    if (matrix) reportValues(matrix, summarizeValues(matrix.dtype, bytes), 1, faults);
  }
}

/** `factor` is what the values will be multiplied with before they are used in float32. */
function reportValues({ name }: Matrix, { finite, largest }: ValueSummary, factor: number, faults: Faults): void {
  if (!finite) faults.invalid(`tensor ${quote(name)} holds NaN or infinity`);
  else if (!Number.isFinite(Math.fround(largest * factor))) {
    faults.invalid(`tensor ${quote(name)} times its scale ${factor} overflows float32 (largest value ${largest})`);
  }
}

async function readContent(
  file: SafetensorsFile,
  plan: PlannedAdapter,
  config: CanonicalConfig,
  faults: Faults,
  visit: Visitor,
): Promise<{ readonly digest: string; readonly warnings: readonly string[] }> {
  const digest = new AdapterDigest(config);
  const byPath = [...plan.modules].sort((left, right) => (left.path < right.path ? -1 : 1));
  let zeros = 0;
  for await (const [module, bytesOfA, bytesOfB, bytesOfE] of readModules(file, byPath)) {
    const { path, rank, inFeatures, outFeatures, a, b, e } = module;
    const values = summarizeValues(b.dtype, bytesOfB);
    const singular = e && bytesOfE ? summarizeValues(e.dtype, bytesOfE) : null;
    reportValues(a, summarizeValues(a.dtype, bytesOfA), singular?.finite ? singular.largest : 1, faults);
    reportValues(b, values, module.scale, faults);
    if (e && singular) reportValues(e, singular, 1, faults);
    if (values.zero || singular?.zero) zeros++;
    const elementsOfA = elementsOf(a.dtype, bytesOfA);
    const elementsOfB = elementsOf(b.dtype, bytesOfB);
    const elementsOfE = e && bytesOfE ? elementsOf(e.dtype, bytesOfE) : null;
    digest.add(path, "A", a.dtype, [rank, inFeatures], peftLayout(a, elementsOfA));
    digest.add(path, "B", b.dtype, [outFeatures, rank], peftLayout(b, elementsOfB));
    if (e && elementsOfE) digest.add(path, "E", e.dtype, e.shape, elementsOfE);
    if (faults.count === 0) visit(module, elementsOfA, elementsOfB, elementsOfE);
  }
  return { digest: digest.finish(), warnings: zeroWarning(zeros, byPath.length) };
}

/** Yields each module with the bytes of its A, B and, where it has one, E, which are not the caller's to keep. */
async function* readModules(
  file: SafetensorsFile,
  modules: readonly ModulePlan[],
): AsyncGenerator<readonly [module: ModulePlan, a: Uint8Array, b: Uint8Array, e: Uint8Array | null]> {
  const stream = streamTensors(
    file,
    modules.flatMap(({ a, b, e }) => [a.name, b.name, ...(e ? [e.name] : [])]),
  );
  for (const module of modules) {
    const a = await stream.next();
    const b = await stream.next();
    const e = module.e ? await stream.next() : null;
    if (!a.done && !b.done && !e?.done) yield [module, a.value.bytes, b.value.bytes, e?.value.bytes ?? null];
  }
}

function zeroWarning(zeros: number, modules: number): string[] {
  if (zeros === 0) return [];
  if (zeros === modules) return ["The adapter changes nothing: every lora_B or lora_E is zero."];
  return [`${zeros} of ${modules} modules change nothing: their lora_B or lora_E is zero.`];
}

function checkDigest(found: string, expected: string | undefined, label: string): void {
  if (expected === undefined || expected === found) return;
  throw new LorikeetError("digest_mismatch", `${label} has the digest ${found}; ${expected} was expected.`, {
    found,
    allowed: expected,
  });
}

/** Names are compared by their last segment: one side is often a path or has an owner. */
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
  sites: readonly LinearSite[] | null,
  digest: string,
  warnings: readonly string[],
  ignored: readonly string[],
): AdapterSummary {
  let bytes = 0;
  for (const module of modules) {
    bytes += module.rank * (module.inFeatures + module.outFeatures) * dtypeSizes[hostDtype(module)];
  }
  const rank = Math.max(...modules.map((module) => module.rank));
  // A place in the active set has every site of the base, at the largest rank.
  const width = (sites ?? modules).reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures + outFeatures, 0);
  const scales = modules.map(({ scale }) => scale);
  return {
    digest,
    rank,
    modules: modules.length,
    bytes,
    activeBytes: paddedRank(rank) * width * dtypeSizes.F32,
    scales: { min: Math.min(...scales), max: Math.max(...scales) },
    warnings,
    ignored,
  };
}
