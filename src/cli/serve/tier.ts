/**
 * What a running process has for adapters of any base: the store, the thread that checks, and the cache in memory. The base says what is
 * checked besides the format, and how an adapter is loaded.
 */

import { AdapterCache, type AdapterSizes, type Cacheable } from "../../adapter/cache/cache.js";
import { Mixtures, type WeightedPart } from "../../adapter/cache/mixtures.js";
import type { AdapterBase, AdapterLimits, CheckedAdapter, CheckOptions } from "../../adapter/format.js";
import { AdapterStore, type StoreLimits } from "../../adapter/store/store.js";
import type { AdapterRecord } from "../../adapter/types.js";
import { Validator, type ValidatorOptions, validationDefaults } from "../../adapter/worker/validator.js";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { tryLockFile } from "../../runtime/file-lock.js";
import { formatBytes } from "../options/units.js";

export interface TierOptions {
  readonly directory: string;
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

/** A base model as its adapters need it. */
export interface TierBase<Held extends Cacheable> extends AsyncDisposable {
  readonly modules: AdapterBase;
  /** Names that adapters may use for it. */
  readonly names: readonly string[];
  /** What a check's result is valid for. */
  readonly checkKey: string;
  /** For a folder that has passed the check of its format: what that check cannot see. Throws for an adapter that cannot be served. */
  checkFurther(folder: string, checked: CheckedAdapter): Promise<void>;
  /** `label`: for messages. */
  load(folder: string, options: CheckOptions, label: string): Promise<Held>;
  /** A weighted sum of adapters. */
  compose(digest: string, parts: readonly { readonly adapter: Held; readonly weight: number }[]): Promise<Held>;
}

export interface Tier<Held extends Cacheable> extends AsyncDisposable {
  readonly store: AdapterStore;
  readonly cache: AdapterCache<Held>;
  readonly mixtures: Mixtures;
}

/** The limits of one check, for those who check further. */
export function checkLimitsOf({ validation = {} }: Pick<TierOptions, "validation">) {
  return { limits: validation.adapterLimits ?? {}, timeoutMs: validation.timeoutMs ?? validationDefaults.timeoutMs };
}

/** Opens the folder, which is not scanned until `store.start`. Owns the base. Throws what opening the store throws. */
export async function openTier<Held extends Cacheable>(
  options: TierOptions,
  base: TierBase<Held>,
): Promise<Tier<Held>> {
  const { directory, reserved, cacheBytes, limits = {}, validation = {}, logger } = options;
  const { adapterLimits = {}, ...validatorOptions } = validation;
  const validator = new Validator(validatorOptions);
  const mixtures = new Mixtures((digest) => cache.state(digest).resident);
  const known = new KnownAdapters(mixtures);
  const read = async (digest: string): Promise<Held> => {
    const alphas = known.alphasOf(digest);
    const loading = { expectedDigest: digest, limits: adapterLimits, ...(alphas && { alphas }) };
    return await store.read(digest, (folder) => base.load(folder, loading, `The adapter ${digest}`));
  };
  const cache: AdapterCache<Held> = new AdapterCache<Held>({
    maxBytes: cacheBytes,
    sizes: known,
    logger,
    load: async (digest) => {
      const parts = mixtures.partsOf(digest);
      if (!parts) return read(digest);
      // Parts are read from disk even if they are in the cache: a load that waited for another could wait forever.
      const weighted: { adapter: Held; weight: number }[] = [];
      for (const { weightsDigest, weight } of parts) weighted.push({ adapter: await read(weightsDigest), weight });
      return await base.compose(digest, weighted);
    },
  });
  const opening = AdapterStore.open({
    directory,
    check: async (folder, { client } = {}) => {
      const checking = { baseNames: base.names, limits: adapterLimits };
      const checked = await validator.check(folder, base.modules, checking, client);
      // If it is too large for the cache, that is the error to report.
      if (checked.summary.bytes <= cacheBytes) await base.checkFurther(folder, checked);
      return checked;
    },
    bases: [{ name: base.names[0] ?? null, checkKey: base.checkKey }],
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
  const closeChecks = async (): Promise<void> => {
    await validator.close();
    await base[Symbol.asyncDispose]();
  };
  const store = await opening.catch(async (error: unknown) => {
    await closeChecks();
    throw error;
  });
  const close = async (): Promise<void> => {
    await store.close();
    await closeChecks();
  };
  return { store, cache, mixtures, [Symbol.asyncDispose]: close };
}

/** Increased whenever the checks change, so that stored adapters are checked again. */
const checksVersion = "checks 5";

/** The key of a check's result: version of the checks, the base's fingerprint, and the names that an adapter may use for it. */
export const checkKeyOf = (fingerprint: string, baseNames: readonly string[]): string =>
  [checksVersion, fingerprint, ...new Set(baseNames)].join(" ");

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
