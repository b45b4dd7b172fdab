/**
 * PEFT's adapter format: checks a folder, loads it into host memory, describes it, writes one. Fails closed: unless every tensor is
 * used, the adapter is refused with all of its faults. Knows no store and no HTTP.
 */

import { assert } from "../base/errors.js";
import type { BaseModule } from "../model/blueprint.js";
import type { TaskTarget } from "../model/task/adapter-targets.js";
import type { AdapterBase } from "./format/base.js";
import type { CanonicalConfig } from "./format/config/config.js";
import type { Visitor } from "./format/content.js";
import { type ExamineOptions, examine } from "./format/examine.js";
import { hostModule, hostTable, widen } from "./format/layout.js";
import type { ModulePlan, SavedPlan, ScaledModule, TokenPlan } from "./format/module-plan.js";
import { TaskHost } from "./format/task-host.js";
import { hostTokens } from "./format/token-rows.js";
import { replaceNorms, shiftBiases, type TrainedNorm } from "./format/trained-biases.js";
import { asVersion } from "./store/version-digest.js";
import type {
  AdapterSummary,
  HostAdapter,
  HostModule,
  HostTable,
  HostTaskAdapter,
  HostTokens,
  HostWhole,
} from "./types.js";

export type { AdapterBase, TaskBase } from "./format/base.js";
export type { CanonicalConfig } from "./format/config/config.js";
export { type AdapterDescription, describeAdapter, type ModuleKind } from "./format/describe.js";
export { type AdapterLimits, adapterLimits } from "./format/examine.js";
export { configFile, isKeptFile, weightFiles } from "./format/files.js";
export { methodOf } from "./format/methods/methods.js";
export {
  type AdapterDtype,
  type AdapterToWrite,
  type ConfigToWrite,
  type ModuleToWrite,
  type NamedTensor,
  writeAdapter,
  writeTensors,
} from "./format/write.js";

export type CheckOptions = ExamineOptions;

export interface AdaptedModule extends ScaledModule {
  /** The tensors' names in the file. */
  readonly aName: string;
  readonly bName: string;
  /** Of the method's extra tensor, such as DoRA's magnitudes. */
  readonly extraName: string | null;
  /** Of the bias of lora_B (`lora_bias`). */
  readonly addedBiasName: string | null;
}

export interface CheckedAdapter {
  readonly summary: AdapterSummary;
  /** In the order of the base's target modules. */
  readonly modules: readonly AdaptedModule[];
  /** The modules that it replaces, in whole or in their bias. */
  readonly saved: readonly SavedPlan[];
  /** The tables and heads of which it replaces rows. */
  readonly tokens: readonly TokenPlan[];
  readonly labels: readonly string[] | null;
  readonly config: CanonicalConfig;
}

/**
 * Checks a folder against a decoder's linear layers or a task model's target modules. Throws LorikeetError `adapter_invalid` or `adapter_unsupported` with every fault,
 * or `digest_mismatch` if another digest was expected.
 */
export async function checkAdapter(
  folder: string,
  base: AdapterBase,
  options: CheckOptions = {},
): Promise<CheckedAdapter> {
  const { summary, config, modules, saved, tokens, labels } = await examine(folder, base, options);
  return {
    summary: await asVersion(folder, summary),
    ...{ config, saved, tokens, labels },
    modules: modules.map(({ path, inFeatures, outFeatures, rank, alpha, scale, a, b, extra, addedBias }) => ({
      path,
      inFeatures,
      outFeatures,
      rank,
      alpha,
      scale,
      aName: a.name,
      bName: b.name,
      extraName: extra?.name ?? null,
      addedBiasName: addedBias?.name ?? null,
    })),
  };
}

/**
 * Checks like `checkAdapter` and reads the tensors into the engine's layout, in their own memory: as many bytes as the file has, more
 * for modules that mix dtypes or have an extra tensor, which are widened to F32. DoRA still has its magnitudes: `foldMagnitudes`
 * turns them into gains.
 */
export async function loadAdapter(
  folder: string,
  baseModules: readonly BaseModule[],
  options: CheckOptions = {},
): Promise<HostAdapter> {
  const loaded = new Map<string, HostModule>();
  let bytes = 0;
  let hasShifts = false;
  const tables: HostTable[] = [];
  const adapted: Visitor["adapted"] = (module, elements) => {
    if (module.kind === "table") {
      const table = hostTable(module, elements);
      bytes += table.a.byteLength + table.b.byteLength;
      tables.push(table);
      return;
    }
    const host = hostModule(module, elements);
    bytes += host.a.byteLength + host.b.byteLength + (host.magnitude?.byteLength ?? 0) + (host.shift?.byteLength ?? 0);
    hasShifts ||= host.shift !== undefined;
    loaded.set(module.path, host);
  };
  const heads: HostWhole[] = [];
  const biases = new Map<string, Float32Array>();
  const norms = new Map<string, TrainedNorm>();
  const saved: Visitor["saved"] = (plan, elements) => {
    const read = (part: "weight" | "bias"): Float32Array | null => {
      const values = elements[part];
      return plan[part] && values && Float32Array.from(widen(plan[part].dtype, values));
    };
    const [weight, bias] = [read("weight"), read("bias")];
    bytes += (weight?.byteLength ?? 0) + (bias?.byteLength ?? 0);
    if (weight && plan.isNorm) norms.set(plan.path, { weight, bias });
    else if (weight) heads.push({ weight, bias, outFeatures: plan.outFeatures });
    else if (bias) biases.set(plan.path, bias);
  };
  const rows: (readonly [TokenPlan, Float32Array])[] = [];
  const addRows: Visitor["tokens"] = (plan, elements) => {
    rows.push([plan, Float32Array.from(widen(plan.rows.dtype, elements))]);
  };
  const visitor = { adapted, saved, tokens: addRows };
  const { summary, labels } = await examine(folder, baseModules, options, () => visitor);
  await shiftBiases(loaded, biases, baseModules);
  await replaceNorms(loaded, norms, baseModules);
  const ofNorms = new Set(baseModules.flatMap(({ role, path }) => (role === "norm" && loaded.has(path) ? [path] : [])));
  const tokens: HostTokens[] = [];
  for (const [plan, values] of rows) {
    const own = await hostTokens(plan, values);
    if (own.ids.length > 0) tokens.push(own);
  }
  for (const { tiles, ids } of tokens) bytes += tiles.byteLength + ids.byteLength;
  const ordered = new Map<string, HostModule>();
  for (const { path } of baseModules) {
    const module = loaded.get(path);
    if (module) ordered.set(path, module);
  }
  const { digest, dora } = summary;
  const rank = [...ordered.values()].reduce((most, module) => Math.max(most, module.rank), 1);
  const [[head], [embedding]] = [heads, tables];
  const found = {
    digest,
    rank,
    hasGains: dora || hasShifts || [...biases.keys()].some((path) => !ofNorms.has(path)),
    ...(ofNorms.size > 0 && { changesNorms: true }),
    bytes,
    modules: ordered,
    ...(embedding && { embedding }),
    ...(tokens.length > 0 && { tokens }),
  };
  return head ? { ...found, head: { ...head, labels } } : found;
}

export interface CheckedTaskAdapter {
  readonly summary: AdapterSummary;
  readonly config: CanonicalConfig;
  readonly modules: readonly ModulePlan[];
  /** Modules that the adapter replaces. */
  readonly saved: readonly SavedPlan[];
  /** Tables of which it replaces rows. */
  readonly tokens: readonly TokenPlan[];
  readonly labels: readonly string[] | null;
}

/** Checks an adapter of a task model like `checkAdapter`. */
export async function checkTaskAdapter(folder: string, targets: readonly TaskTarget[]): Promise<CheckedTaskAdapter> {
  const { summary, config, modules, saved, tokens, labels } = await examine(folder, { targets }, {});
  return { summary: await asVersion(folder, summary), config, modules, saved, tokens, labels };
}

/** Checks an adapter of a task model like `checkAdapter`, and reads its tensors into one block of memory. */
export async function loadTaskAdapter(
  folder: string,
  targets: readonly TaskTarget[],
  options: CheckOptions = {},
): Promise<HostTaskAdapter> {
  const hosts: TaskHost[] = [];
  const { summary, modules, saved, tokens, labels } = await examine(folder, { targets }, options, (plan) => {
    const host = new TaskHost(plan);
    hosts.push(host);
    return host;
  });
  const [host] = hosts;
  assert(host, "an accepted adapter was read");
  const { digest, rank, bytes } = summary;
  return {
    digest,
    rank,
    bytes,
    labels,
    modules: host.inOrder([...modules, ...saved.filter(({ isFixed }) => !isFixed), ...tokens]),
  };
}
