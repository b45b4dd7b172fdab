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
import { elementsOf, hostDtype, type ModuleElements, peftLayout } from "./layout.js";
import { type Matrix, type ModulePlan, type PlannedAdapter, planModules, type Vector } from "./modules.js";
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
  /** Throws `digest_mismatch` when what it computes has another digest. */
  readonly expectedDigest?: string;
}

export interface Examined {
  /** `digest` is of what the adapter computes. */
  readonly summary: Omit<AdapterSummary, "weightsDigest">;
  readonly config: CanonicalConfig;
  /** In the base's order. */
  readonly modules: readonly ModulePlan[];
}

/** Told of each module once its values are known to be sound; the arrays, in the file's layout, are the visitor's only until it returns. */
type Visitor = (module: ModulePlan, elements: ModuleElements) => void;

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
    const dora = config.canonical.use_dora === true;
    const summary = summarize(plan.modules, dora, sites, content.digest, warnings, survey.ignored);
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

/** The values of an adapter that is refused already: nothing is hashed or kept. */
async function checkValues(file: SafetensorsFile, plan: PlannedAdapter, faults: Faults): Promise<void> {
  const matrices = new Map(plan.matrices.map((matrix) => [matrix.name, matrix]));
  for await (const { name, bytes } of streamTensors(file, matrices.keys())) {
    const matrix = matrices.get(name);
    if (matrix) reportValues(matrix, summarizeValues(matrix.dtype, bytes), 1, faults);
  }
}

/** `factor` is what the values will be multiplied with before they are used in float32. */
function reportValues(
  { name }: Matrix | Vector,
  { finite, largest }: ValueSummary,
  factor: number,
  faults: Faults,
): void {
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
  for await (const [module, bytes] of readModules(file, byPath)) {
    const { path, rank, inFeatures, outFeatures, a, b, e, m } = module;
    const values = summarizeValues(b.dtype, bytes.b);
    const singular = e && bytes.e ? summarizeValues(e.dtype, bytes.e) : null;
    reportValues(a, summarizeValues(a.dtype, bytes.a), singular?.finite ? singular.largest : 1, faults);
    reportValues(b, values, module.scale, faults);
    if (e && singular) reportValues(e, singular, 1, faults);
    if (m && bytes.m) reportValues(m, summarizeValues(m.dtype, bytes.m), 1, faults);
    if (!m && (values.zero || singular?.zero)) zeros++; // magnitudes change something by themselves
    const elements: ModuleElements = {
      a: elementsOf(a.dtype, bytes.a),
      b: elementsOf(b.dtype, bytes.b),
      e: e && bytes.e && elementsOf(e.dtype, bytes.e),
      m: m && bytes.m && elementsOf(m.dtype, bytes.m),
    };
    digest.add(path, "A", a.dtype, [rank, inFeatures], peftLayout(a, elements.a));
    digest.add(path, "B", b.dtype, [outFeatures, rank], peftLayout(b, elements.b));
    if (e && elements.e) digest.add(path, "E", e.dtype, e.shape, elements.e);
    if (m && elements.m) digest.add(path, "M", m.dtype, m.shape, elements.m);
    if (faults.count === 0) visit(module, elements);
  }
  return { digest: digest.finish(), warnings: zeroWarning(zeros, byPath.length) };
}

interface ModuleBytes {
  readonly a: Uint8Array;
  readonly b: Uint8Array;
  readonly e: Uint8Array | null;
  readonly m: Uint8Array | null;
}

/** Yields each module with the bytes of its tensors, which are not the caller's to keep. */
async function* readModules(
  file: SafetensorsFile,
  modules: readonly ModulePlan[],
): AsyncGenerator<readonly [module: ModulePlan, bytes: ModuleBytes]> {
  const named = (tensor: Matrix | Vector | null): string[] => (tensor ? [tensor.name] : []);
  const stream = streamTensors(
    file,
    modules.flatMap(({ a, b, e, m }) => [a, b, e, m].flatMap(named)),
  );
  const next = async (tensor: Matrix | Vector | null): Promise<Uint8Array | null> => {
    const read = tensor && (await stream.next());
    return read && !read.done ? read.value.bytes : null;
  };
  for (const module of modules) {
    const [a, b] = [await next(module.a), await next(module.b)];
    const [e, m] = [await next(module.e), await next(module.m)];
    if (a && b) yield [module, { a, b, e, m }];
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
  dora: boolean,
  sites: readonly LinearSite[] | null,
  digest: string,
  warnings: readonly string[],
  ignored: readonly string[],
): Omit<AdapterSummary, "weightsDigest"> {
  let bytes = 0;
  for (const module of modules) {
    bytes += module.rank * (module.inFeatures + module.outFeatures) * dtypeSizes[hostDtype(module)];
    if (module.m) bytes += module.outFeatures * dtypeSizes.F32;
  }
  const rank = Math.max(...modules.map((module) => module.rank));
  // A place in the active set has every site of the base, at the largest rank.
  const width = (sites ?? modules).reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures + outFeatures, 0);
  const gains = dora ? (sites ?? modules).reduce((sum, { outFeatures }) => sum + outFeatures, 0) : 0;
  const scales = modules.map(({ scale }) => scale);
  return {
    digest,
    rank,
    dora,
    modules: modules.length,
    bytes,
    activeBytes: (paddedRank(rank) * width + gains) * dtypeSizes.F32,
    scales: { min: Math.min(...scales), max: Math.max(...scales) },
    warnings,
    ignored,
  };
}
