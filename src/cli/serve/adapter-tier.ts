/** Opens what a running process needs for adapters: the store, the threads that check and load, and the cache in memory. */

import { AdapterCache, type AdapterSizes } from "../../adapter/cache/cache.js";
import { composeMixture, type Weighted } from "../../adapter/cache/compose.js";
import { Mixtures, type WeightedPart } from "../../adapter/cache/mixtures.js";
import type { AdapterLimits } from "../../adapter/format.js";
import { AdapterStore, type StoreLimits } from "../../adapter/store/store.js";
import type { AdapterRecord, HostAdapter } from "../../adapter/types.js";
import { Validator, type ValidatorOptions, validationDefaults } from "../../adapter/worker/validator.js";
import { AdapterWorker } from "../../adapter/worker/worker.js";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { foldMagnitudes } from "../../engine/adapters/dora-gains.js";
import { storedModules } from "../../model/modules.js";
import type { Checkpoint } from "../../model/types.js";
import { tryLockFile } from "../../runtime/file-lock.js";
import { WeightNorms } from "../../weights/norms.js";
import { formatBytes } from "../options/units.js";
import { GainCheck } from "./gain-check.js";

export interface AdapterTierOptions {
  readonly directory: string;
  readonly checkpoint: Checkpoint;
  /** Names of the base model, which no adapter may have. */
  readonly reserved: readonly string[];
  readonly cacheBytes: number;
  /** Limit of the adapters in use: a larger adapter could never run. */
  readonly activeBytes: number;
  readonly limits?: Partial<StoreLimits>;
  readonly validation?: ValidationSettings;
  readonly logger: Logger;
}

/** How adapters are checked. */
export interface ValidationSettings extends ValidatorOptions {
  /** Limits of an adapter. */
  readonly adapterLimits?: Partial<AdapterLimits>;
}

export interface AdapterTier extends AsyncDisposable {
  readonly store: AdapterStore;
  readonly cache: AdapterCache;
  readonly mixtures: Mixtures;
}

/** Opens the folder, which is not scanned until `store.start`. Throws what opening the store throws. */
export async function openAdapterTier(options: AdapterTierOptions): Promise<AdapterTier> {
  const { directory, checkpoint, reserved, cacheBytes, limits = {}, validation = {}, logger } = options;
  const { adapterLimits = {}, ...validatorOptions } = validation;
  const modules = storedModules(checkpoint);
  const baseNames = [...checkpoint.names, ...reserved];
  const loader = new AdapterWorker();
  const validator = new Validator(validatorOptions);
  const norms = new WeightNorms(checkpoint, { threads: 1 }); // steps use the other threads
  const timeoutMs = validatorOptions.timeoutMs ?? validationDefaults.timeoutMs;
  const gains = new GainCheck(modules, norms, { limits: adapterLimits, timeoutMs });
  const mixtures = new Mixtures((digest) => cache.state(digest).resident);
  const known = new KnownAdapters(mixtures);
  const read = async (digest: string): Promise<HostAdapter> => {
    const alphas = known.alphasOf(digest);
    const options = { expectedDigest: digest, limits: adapterLimits, ...(alphas && { alphas }) };
    const loaded = await store.read(digest, (folder) => loader.load(folder, modules, options));
    return foldMagnitudes(loaded, norms, `The adapter ${digest}`);
  };
  const cache: AdapterCache = new AdapterCache({
    maxBytes: cacheBytes,
    sizes: known,
    logger,
    load: async (digest) => {
      const parts = mixtures.partsOf(digest);
      if (!parts) return read(digest);
      // Parts are read from disk even if they are in the cache: a load that waited for another could wait forever.
      const weighted: Weighted[] = [];
      for (const { weightsDigest, weight } of parts) weighted.push({ adapter: await read(weightsDigest), weight });
      return composeMixture(digest, weighted);
    },
  });
  const opening = AdapterStore.open({
    directory,
    check: async (folder, client) => {
      const checked = await validator.check(folder, modules, { baseNames, limits: adapterLimits }, client);
      // If it is too large for the cache, that is the error to report.
      if (checked.summary.bytes <= cacheBytes) await gains.check(folder, checked.summary);
      return checked;
    },
    checkKey: checkKeyOf(checkpoint, baseNames),
    tryLock: tryLockFile,
    reserved,
    admit: ({ weightsDigest, bytes, activeBytes }) => {
      cache.assertFits(weightsDigest, bytes);
      if (activeBytes > options.activeBytes) throw tooLargeToRun(activeBytes, options.activeBytes);
    },
    limits,
    logger,
    observer: {
      named: (record) => {
        known.add(record);
        const { name, digest, warnings } = record;
        if (warnings.length > 0) logger.warn({ adapter: name, digest, warnings }, "An adapter has warnings");
      },
      unwanted: (digest) => {
        known.delete(digest);
        for (const each of [digest, ...mixtures.forget(digest)]) cache.forget(each);
      },
    },
  });
  const closeWorkers = async (): Promise<void> => {
    await Promise.all([loader.close(), validator.close(), gains.close()]);
  };
  const store = await opening.catch(async (error: unknown) => {
    await closeWorkers();
    throw error;
  });
  const close = async (): Promise<void> => {
    await store.close();
    await closeWorkers();
    await norms[Symbol.asyncDispose]();
  };
  return { store, cache, mixtures, [Symbol.asyncDispose]: close };
}

/** Increased whenever the checks change, so that stored adapters are checked again. */
const checksVersion = "checks 4";

/** The key of a check's result: version of the checks, base model, and the names an adapter may use for it. */
export function checkKeyOf({ fingerprint }: Checkpoint, baseNames: readonly string[]): string {
  return [checksVersion, fingerprint, ...new Set(baseNames)].join(" ");
}

/** The same for a task model, by the key of its target modules. */
export function taskCheckKeyOf(targetsKey: string, baseNames: readonly string[]): string {
  return [checksVersion, targetsKey, ...new Set(baseNames)].join(" ");
}

function tooLargeToRun(bytes: number, allowed: number): LorikeetError {
  return new LorikeetError(
    "adapter_too_large",
    `The adapter takes ${formatBytes(bytes)} in fp32 when in use, more than the ${formatBytes(allowed)} of --active-adapter-bytes.`,
    { found: bytes, allowed },
  );
}

/** Sizes and alphas of all versions that may still be requested, by the digest of their weights. */
class KnownAdapters implements AdapterSizes {
  readonly #known = new Map<string, Pick<AdapterRecord, "bytes" | "alphas">>();
  readonly #mixtures: Mixtures;

  constructor(mixtures: Mixtures) {
    this.#mixtures = mixtures;
  }

  add({ weightsDigest, bytes, alphas }: AdapterRecord): void {
    this.#known.set(weightsDigest, { bytes, ...(alphas && { alphas }) });
  }

  delete(digest: string): void {
    this.#known.delete(digest);
  }

  bytesOf(digest: string): number | undefined {
    const parts = this.#mixtures.partsOf(digest);
    return parts ? this.#bytesToCompose(parts) : this.#known.get(digest)?.bytes;
  }

  /** Room for the parts, and for the mixture, which is in fp32 even if they are not. Undefined if a part is unknown. */
  #bytesToCompose(parts: readonly WeightedPart[]): number | undefined {
    let bytes = 0;
    for (const { weightsDigest } of parts) {
      const own = this.#known.get(weightsDigest)?.bytes;
      if (own === undefined) return undefined;
      bytes += 3 * own;
    }
    return bytes;
  }

  alphasOf(digest: string): readonly number[] | undefined {
    return this.#known.get(digest)?.alphas;
  }

  largestBytes(except: ReadonlySet<string>): number {
    let largest = 0;
    for (const [digest, { bytes }] of this.#known) if (!except.has(digest)) largest = Math.max(largest, bytes);
    return largest;
  }
}
