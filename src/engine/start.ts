/** Puts an engine together: weights, sessions, KV cache, bank and self-test, in that order. */
import type { AdapterSource, HostAdapter } from "../adapter/types.js";
import { LorikeetError } from "../base/errors.js";
import { type Logger, type Progress, silent } from "../base/log.js";
import { layerNorms, rereadLength } from "../model/modules.js";
import { cacheShape } from "../model/serving/cache-shape.js";
import type { Arithmetic, CacheType, FloatType } from "../model/serving/target.js";
import type { Checkpoint, DecoderConfig } from "../model/types.js";
import { cpu } from "../runtime/device/cpu.js";
import type { Device } from "../runtime/device/device.js";
import { released } from "../runtime/device/lost.js";
import { planWeights, type WeightPlan } from "../weights/plan.js";
import { type PreparedWeights, prepareWeights } from "../weights/prepare.js";
import { rowLimits } from "../weights/quantize.js";
import { type Bank, openPool } from "./adapters/pool.js";
import { longestRightChunk } from "./attention-check.js";
import { ContinuousEngine } from "./engine.js";
import { exactRowLimit } from "./kernel-probe.js";
import { cacheBytes, KvCache, kvLayout } from "./kv-cache.js";
import { Runner } from "./runner.js";
import { readScoreHead } from "./score-head.js";
import { type SelfTest, selfTest } from "./self-test.js";
import type { EngineObserver } from "./types.js";

export type BaseDtype = "fp32" | "fp16" | "int8" | "int4";

export interface StartOptions {
  readonly checkpoint: Checkpoint;
  /** Where the model computes. Its owner disposes of it after the engine has closed. Default: the CPU. */
  readonly device?: Device;
  readonly dtype: BaseDtype;
  /** int8 as blocks of 128, or per row with integer products. Default rows. */
  readonly int8Kind?: "blocks" | "rows";
  /** int8 unless the base is fp32 or fp16. */
  readonly headDtype?: "fp32" | "fp16" | "int8";
  readonly threads: number;
  readonly maxBatch: number;
  readonly maxContext: number;
  readonly maxQueue: number;
  /** null: seven eighths of `maxQueue`, so that one adapter leaves room for others. */
  readonly maxAdapterQueue?: number | null;
  readonly maxStallMs: number;
  /** fp32 bytes of the adapters that steps can use at once. */
  readonly activeAdapterBytes: number;
  /** No row's bits depend on its neighbours, in quantized bases too (fp32 always is). */
  readonly exact: boolean;
  /** Of keys and values. float16 takes a device that computes in it. Default: float32, if its attention has that. */
  readonly cacheType?: CacheType;
  /** Of activations, adapters and weights that are not quantized. Default float16 if the base is fp16, else float32. On a card only. */
  readonly activationType?: FloatType;
  /** Of products with int8 and int4 blocks. Default 4. */
  readonly accuracyLevel?: 0 | 4;
  /** ONNX Runtime's threads spin between steps. */
  readonly spinning?: boolean;
  readonly maxChunk?: number;
  readonly cacheDirectory?: string;
  readonly adapters: AdapterSource | null;
  readonly progress?: Progress;
  readonly observer?: EngineObserver;
  readonly logger?: Logger;
}

export interface StartedEngine {
  readonly engine: ContinuousEngine;
  /** What the engine runs. Only while it is idle may others run them, as benchmarks do to measure steps without requests. */
  readonly steps: { readonly runner: Runner; readonly cache: KvCache };
  /** Of activations and adapters. */
  readonly activationType: FloatType;
  readonly selfTest: SelfTest;
  /** Tokens of the longest chunk of a prompt. */
  readonly maxChunk: number;
  /** Bytes of the weights in the form that runs. */
  readonly weightBytes: number;
  /** Bytes of the KV cache when every slot is full. */
  readonly kvBytes: number;
}

/** The form of each weight in an engine with these options. Asks this CPU how its integer kernel adds. */
export async function planServing(
  { config, tensors }: Checkpoint,
  options: Pick<StartOptions, "dtype" | "int8Kind" | "headDtype" | "activationType" | "threads" | "device">,
): Promise<WeightPlan> {
  const { dtype, device = cpu } = options;
  const { hostMemory, integerProducts, halfTables } = device.capabilities;
  const int8Kind = integerProducts ? (options.int8Kind ?? "rows") : "blocks";
  const rowLimit = dtype === "int8" && int8Kind === "rows" ? await exactRowLimit(options.threads) : rowLimits.full;
  return planWeights(config, tensors, {
    dtype,
    int8Kind,
    rowLimit,
    rawTables: halfTables,
    floats: activationTypeOf(options) === "float16" ? "fp16" : "fp32",
    ...(options.headDtype === undefined ? {} : { headDtype: options.headDtype }),
    // A card pays for every product that it starts; on the CPU a joined copy of the file gains nothing.
    pack: dtype !== "fp32" || !hostMemory,
  });
}

const activationTypeOf = ({ dtype, activationType }: Pick<StartOptions, "dtype" | "activationType">): FloatType =>
  activationType ?? (dtype === "fp16" ? "float16" : "float32");

/** Throws after releasing all that was opened, so that a device can be used again. */
export async function startEngine(options: StartOptions): Promise<StartedEngine> {
  const opened = new OpenedParts(options.device ?? cpu);
  try {
    return await start(options, opened);
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

/** What an engine consists of, as far as it is open. */
class OpenedParts implements AsyncDisposable {
  readonly #device: Device;
  prepared: PreparedWeights | null = null;
  runner: Runner | null = null;
  cache: KvCache | null = null;
  bank: Bank | null = null;

  constructor(device: Device) {
    this.#device = device;
  }

  /** Sessions go before the memory that they are bound to. */
  async [Symbol.asyncDispose](): Promise<void> {
    await released(this.#release());
    await this.prepared?.close();
  }

  async #release(): Promise<void> {
    await this.runner?.[Symbol.asyncDispose]();
    await this.bank?.[Symbol.asyncDispose]();
    await this.#device.turn(async () => this.cache?.[Symbol.dispose]());
  }
}

async function start(options: StartOptions, opened: OpenedParts): Promise<StartedEngine> {
  const { checkpoint, device = cpu, logger = silent } = options;
  const { config } = checkpoint;
  const plan = await planServing(checkpoint, options);
  const prepared = await prepareWeights(checkpoint, plan, {
    threads: options.threads,
    ...(options.cacheDirectory === undefined ? {} : { cacheDirectory: options.cacheDirectory }),
    ...(options.progress === undefined ? {} : { progress: options.progress }),
  });
  opened.prepared = prepared;
  const form = formOf(options);
  const { type, shape, evenRows } = form;
  const { slots, capacity } = shape;
  assertFits(device, { weights: prepared.bytes, cache: cacheBytes(shape), adapters: options.activeAdapterBytes });
  const maxChunk = await rightChunk(device, config, options.maxChunk ?? 512, form.cacheType);
  const runner = await openRunner(options, form, prepared);
  opened.runner = runner;
  const cache = await device.turn(async () => new KvCache(shape, device));
  opened.cache = cache;
  const bank = openPool({
    groups: runner.groups,
    tiedHead: runner.tiedHead,
    norms: layerNorms(config),
    places: options.maxBatch,
    maxBytes: options.activeAdapterBytes,
    device,
    type,
  });
  opened.bank = bank;
  const tested = await selfTest(runner, cache, {
    vocabSize: config.vocabSize,
    capacity,
    maxPositions: config.maxPositions,
    slots,
    evenRows,
    adapterBytes: options.adapters ? options.activeAdapterBytes : 0,
    maxChunk,
    device,
    type,
  });
  logger.debug({ ...tested }, "self-test");
  if (!tested.finite && type === "float16") {
    const message = "This model's activations are larger than fp16 holds: use --activation-dtype fp32.";
    throw new LorikeetError("device_unavailable", message);
  }
  const ownHead = readScoreHead(config, prepared.weights);
  const engine = new ContinuousEngine<HostAdapter>({
    device,
    runner,
    cache,
    bank,
    adapters: options.adapters,
    headOf: (adapter) => adapter?.head ?? ownHead,
    vocabSize: config.vocabSize,
    evenRows,
    rereadLength: rereadLength(config),
    limits: limitsOf(options),
    maxStallMs: options.maxStallMs,
    maxChunk,
    prefillRate: tested.prefillRate,
    logger,
    ...(options.observer === undefined ? {} : { observer: options.observer }),
    dispose: () => opened[Symbol.asyncDispose](),
  });
  return {
    engine,
    steps: { runner, cache },
    activationType: type,
    selfTest: tested,
    maxChunk,
    weightBytes: prepared.bytes,
    kvBytes: cacheBytes(shape),
  };
}

/** How the engine computes and what its cache holds, as the options and the device have it. */
function formOf(options: StartOptions) {
  const { checkpoint, dtype, device = cpu, accuracyLevel = 4 } = options;
  const { cacheType = device.capabilities.wideAttention ? "float32" : "float16" } = options;
  const isFloat = dtype === "fp32" || dtype === "fp16";
  const exact = options.exact || isFloat;
  const type = activationTypeOf(options);
  const arithmetic: Arithmetic = { cacheType, activationType: type, accuracyLevel };
  const layout = kvLayout(options.maxBatch, options.maxContext);
  return {
    ...{ type, cacheType, arithmetic, exact },
    shape: { ...cacheShape(checkpoint.config, arithmetic), ...layout },
    // Kernels over blocks treat a single row, and the last of an odd number, in their own way.
    evenRows: exact && (!isFloat || options.headDtype === "int8"),
  };
}

async function openRunner(
  { checkpoint: { config }, threads, device = cpu, ...options }: StartOptions,
  { shape, exact, evenRows, arithmetic }: ReturnType<typeof formOf>,
  { weights }: PreparedWeights,
): Promise<Runner> {
  options.progress?.("building sessions", 0, 1);
  const runner = await Runner.create({
    ...{ config, weights, exact, evenRows, device, arithmetic },
    capacity: shape.capacity,
    maxRows: shape.slots,
    session: { threads, spinning: options.spinning ?? true },
  });
  options.progress?.("building sessions", 1, 1);
  return runner;
}

const limitsOf = ({ maxBatch, maxContext, maxQueue, maxAdapterQueue }: StartOptions) => ({
  ...{ maxBatch, maxContext, maxQueue },
  maxAdapterQueue: maxAdapterQueue ?? Math.ceil((maxQueue * 7) / 8),
});

/** The longest chunk that this device computes right. Throws `device_unavailable` if none is. */
async function rightChunk(device: Device, config: DecoderConfig, limit: number, type: CacheType): Promise<number> {
  if (device.capabilities.longChunks) return limit;
  const longest = await longestRightChunk(device, config, limit, type);
  if (longest > 0) return longest;
  const remedy = type === "float16" ? "--kv-cache-dtype fp32" : "--device cpu";
  const message = `The attention kernel for ${type} gives wrong numbers on ${device.name}: use ${remedy}, or update its driver.`;
  throw new LorikeetError("device_unavailable", message);
}

/** Throws `device_memory` before anything is loaded, if it cannot all lie in the device's memory. */
function assertFits(
  { name, memoryBytes }: Device,
  { weights, cache, adapters }: Readonly<Record<"weights" | "cache" | "adapters", number>>,
): void {
  const found = weights + cache + adapters;
  if (memoryBytes === null || found <= memoryBytes) return;
  throw new LorikeetError(
    "device_memory",
    `${name} has ${memoryBytes} bytes of memory; weights (${weights}), KV cache (${cache}) and adapters in use (${adapters}) take ` +
      `${found}. Lower --kv-bytes, --max-batch, --max-context or --active-adapter-bytes, or use a smaller --dtype.`,
    { found, allowed: memoryBytes },
  );
}
