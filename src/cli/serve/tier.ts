/**
 * What a running process has for the adapters of one base: their cache in memory, and what the base says about checking and loading them.
 * The folder that stores them may serve several bases.
 */

import { AdapterCache, type AdapterSizes, type Cacheable } from "../../adapter/cache/cache.js";
import { Mixtures, type WeightedPart } from "../../adapter/cache/mixtures.js";
import type { AdapterBase, AdapterLimits, CheckedAdapter, CheckOptions } from "../../adapter/format.js";
import type { AdapterStore } from "../../adapter/store/store.js";
import type { AdapterRecord, AdapterSummary } from "../../adapter/types.js";
import { type ValidatorOptions, validationDefaults } from "../../adapter/worker/validator.js";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { StorePort } from "../../gateway/adapters.js";
import { formatBytes } from "../options/units.js";

/** What a base may hold of its adapters. */
export interface TierBudget {
  readonly cacheBytes: number;
  /** Limit of the adapters in use: a larger adapter could never run. */
  readonly activeBytes: number;
}

/** How adapters are checked. */
export interface ValidationSettings extends ValidatorOptions {
  /** Limits of an adapter. */
  readonly adapterLimits?: Partial<AdapterLimits>;
}

/** A base model as its adapters need it. */
export interface TierBase<Held extends Cacheable> extends AsyncDisposable {
  /** The model's. */
  readonly path: string;
  readonly modules: AdapterBase;
  /** Names that adapters may use for it. */
  readonly names: readonly string[];
  /** What a check's result is valid for. */
  readonly checkKey: string;
  /** For a folder that has passed the check of its format: what that check cannot see. Returns warnings. Throws for an adapter that cannot be served. */
  checkFurther(folder: string, checked: CheckedAdapter): Promise<readonly string[]>;
  /** `label`: for messages. */
  load(folder: string, options: CheckOptions, label: string): Promise<Held>;
  /** A weighted sum of adapters. `label`: of each, for messages. */
  compose(
    digest: string,
    parts: readonly { readonly adapter: Held; readonly weight: number; readonly label: string }[],
  ): Promise<Held>;
}

/** Disposing of it closes what the base checks and loads with. */
export interface Tier<Held extends Cacheable> extends AsyncDisposable {
  /** The folder's, of all bases that share it. Open once all of them have joined. */
  readonly store: AdapterStore;
  /** The base's own adapters in it. */
  readonly own: StorePort;
  readonly cache: AdapterCache<Held>;
  readonly mixtures: Mixtures;
}

/** What a folder of adapters needs to know of a base's tier. */
export interface TierMember extends TierBudget {
  /** The base's served name. */
  readonly name: string;
  readonly base: Pick<TierBase<Cacheable>, "path" | "modules" | "names" | "checkKey" | "checkFurther">;
  readonly known: KnownAdapters;
  readonly mixtures: Mixtures;
  readonly cache: Pick<AdapterCache<Cacheable>, "assertFits" | "forget">;
}

/** The limits of one check, for those who check further. */
export function checkLimitsOf({ adapterLimits, timeoutMs }: ValidationSettings = {}) {
  return { limits: adapterLimits ?? {}, timeoutMs: timeoutMs ?? validationDefaults.timeoutMs };
}

/** Throws `adapter_too_large`. */
export function admit(
  { weightsDigest, bytes, activeBytes }: AdapterSummary,
  { cache, activeBytes: allowed }: Pick<TierMember, "cache" | "activeBytes">,
): void {
  cache.assertFits(weightsDigest, bytes);
  if (activeBytes > allowed) throw tooLargeToRun(activeBytes, allowed);
}

/** The cache of a base's adapters and their mixtures, which `read` takes from disk. */
export function openCache<Held extends Cacheable>(
  base: Pick<TierBase<Held>, "load" | "compose">,
  maxBytes: number,
  adapterLimits: Partial<AdapterLimits>,
  { read, logger }: { readonly read: AdapterStore["read"]; readonly logger: Logger },
): { readonly cache: AdapterCache<Held>; readonly mixtures: Mixtures; readonly known: KnownAdapters } {
  const mixtures = new Mixtures((digest) => cache.state(digest).resident);
  const known = new KnownAdapters(mixtures);
  const readOne = async (digest: string): Promise<Held> => {
    const alphas = known.alphasOf(digest);
    const loading = { expectedDigest: digest, limits: adapterLimits, ...(alphas && { alphas }) };
    return await read(digest, (folder) => base.load(folder, loading, known.labelOf(digest)));
  };
  const cache: AdapterCache<Held> = new AdapterCache<Held>({
    maxBytes,
    sizes: known,
    logger,
    load: async (digest) => {
      const parts = mixtures.partsOf(digest);
      if (!parts) return readOne(digest);
      // Parts are read from disk even if they are in the cache: a load that waited for another could wait forever.
      const weighted: { adapter: Held; weight: number; label: string }[] = [];
      for (const { weightsDigest, weight } of parts) {
        weighted.push({ adapter: await readOne(weightsDigest), weight, label: known.labelOf(weightsDigest) });
      }
      return await base.compose(digest, weighted);
    },
  });
  return { cache, mixtures, known };
}

/** Increased whenever the checks change, so that stored adapters are checked again. */
const checksVersion = "checks 9";

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
  readonly #known = new Map<string, Pick<AdapterRecord, "name" | "bytes" | "alphas">>();
  readonly #mixtures: Mixtures;

  constructor(mixtures: Mixtures) {
    this.#mixtures = mixtures;
  }

  add({ name, weightsDigest, bytes, alphas }: AdapterRecord): void {
    this.#known.set(weightsDigest, { name, bytes, ...(alphas && { alphas }) });
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

  /** The subject of a sentence: by the latest name, as several may share the weights. */
  labelOf(digest: string): string {
    const name = this.#known.get(digest)?.name;
    return name === undefined ? `The adapter ${digest}` : `The adapter \`${name}\``;
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
