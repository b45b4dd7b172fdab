/**
 * The folder of adapters of a running process, and the bases that share it. Each base joins; with the last one the folder is opened and
 * its adapters are checked, each against the base that it belongs to.
 */

import type { Cacheable } from "../../adapter/cache/cache.js";
import { readBaseName } from "../../adapter/format/config/base-name.js";
import type { CheckedAdapter } from "../../adapter/format.js";
import type { CheckRequest } from "../../adapter/store/check.js";
import { AdapterStore, type StoreLimits } from "../../adapter/store/store.js";
import { Validator } from "../../adapter/worker/validator.js";
import { assert, type LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { tryLockFile } from "../../runtime/file-lock.js";
import { BaseAdapters } from "./base-adapters.js";
import { ambiguousBase, fitsOthers, isMisfit, type Misfit, namedBy, nearestMisfit } from "./base-choice.js";
import { ownAdapters } from "./own-adapters.js";
import {
  admit,
  openCache,
  type Tier,
  type TierBase,
  type TierBudget,
  type TierMember,
  type ValidationSettings,
} from "./tier.js";

export interface AdapterFolderOptions {
  /** null: nothing can be stored, and only what bases bring along is served. */
  readonly directory: string | null;
  /** Whether the adapters that lie in the folders of the bases' models are served. */
  readonly readsOwn?: boolean;
  readonly limits?: Partial<StoreLimits>;
  readonly validation?: ValidationSettings;
  readonly logger: Logger;
}

type Checked = CheckedAdapter & { readonly base: string };

export class AdapterFolder implements AsyncDisposable {
  readonly #options: AdapterFolderOptions;
  readonly #baseCount: number;
  readonly #validator: Validator;
  /** By served name. */
  readonly #members = new Map<string, TierMember>();
  #store: AdapterStore | null = null;

  /** `baseCount`: of the bases that will join. */
  constructor(options: AdapterFolderOptions, baseCount = 1) {
    const { adapterLimits: _, ...validatorOptions } = options.validation ?? {};
    this.#options = options;
    this.#baseCount = baseCount;
    this.#validator = new Validator(validatorOptions);
  }

  get directory(): string | null {
    return this.#options.directory;
  }

  get validation(): ValidationSettings {
    return this.#options.validation ?? {};
  }

  get logger(): Logger {
    return this.#options.logger;
  }

  /** Of all bases. */
  get store(): AdapterStore {
    assert(this.#store, "the folder is open once all bases have joined");
    return this.#store;
  }

  /** A base that opens again replaces what it was. Throws what opening the store throws. */
  async join<Held extends Cacheable>(name: string, base: TierBase<Held>, budget: TierBudget): Promise<Tier<Held>> {
    const read: AdapterStore["read"] = (digest, use) => this.store.read(digest, use);
    const { logger } = this.#options;
    const limits = this.validation.adapterLimits ?? {};
    const { cache, mixtures, known } = openCache(base, budget.cacheBytes, limits, { read, logger });
    this.#members.set(name, { name, base, cache, mixtures, known, ...budget });
    for (const record of this.#store?.list() ?? []) if (record.base === name) known.add(record);
    try {
      if (this.#members.size === this.#baseCount) this.#store ??= await this.#open([...this.#members.values()]);
    } catch (error) {
      await base[Symbol.asyncDispose]();
      throw error;
    }
    return new FolderTier(this, { name, cache, mixtures, dispose: async () => base[Symbol.asyncDispose]() });
  }

  /** Leaves the folder. Checks that run or wait reject with `draining`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store?.close();
    await this.#validator.close();
  }

  async #open(members: readonly TierMember[]): Promise<AdapterStore> {
    const { directory, readsOwn = false, limits = {}, logger } = this.#options;
    const own = readsOwn ? await Promise.all(members.map(({ name, base }) => ownAdapters(name, base.path))) : [];
    const bases = members.map(({ name, base }) => ({ name, aliases: base.names, checkKey: base.checkKey }));
    const [first, ...others] = bases;
    assert(first, "the last base has joined");
    return await AdapterStore.open({
      ...{ directory, limits, logger, tryLock: tryLockFile },
      own: own.flat(),
      bases: [first, ...others],
      reserved: members.map(({ name }) => name),
      check: (folder, request = {}) => this.#check(folder, request),
      admit: (summary, base) => admit(summary, this.#member(base)),
      observer: {
        named: (record) => {
          const { name, digest, base, warnings } = record;
          this.#member(base).known.add(record);
          if (warnings.length > 0) logger.warn({ adapter: name, digest, warnings }, "An adapter has warnings");
        },
        unwanted: (digest) => {
          for (const { known, mixtures, cache } of this.#members.values()) {
            known.delete(digest);
            for (const each of [digest, ...mixtures.forget(digest)]) cache.forget(each);
          }
        },
      },
    });
  }

  #member(name: string | null): TierMember {
    const member = name === null ? undefined : this.#members.get(name);
    assert(member, `the base ${name} has joined`);
    return member;
  }

  /** Against the base that is asked for, else the one that the adapter names, else the only one that it fits. */
  async #check(folder: string, { client, base = null }: CheckRequest): Promise<Checked> {
    const candidates = await this.#candidates(folder, base);
    const [first, ...others] = candidates;
    if (first && others.length === 0) {
      try {
        return await this.#checkAgainst(first, folder, client);
      } catch (error) {
        throw isMisfit(error) ? await this.#orOthers(error, candidates, folder, client) : error;
      }
    }
    const { fitting, misfits } = await this.#compare(candidates, folder, client);
    const [own, ...rivals] = fitting;
    const [misfit, ...more] = misfits;
    if (!own && misfit) {
      throw await this.#orOthers(nearestMisfit([misfit, ...more]), candidates, folder, client);
    }
    assert(own, "an adapter fits a base or not");
    if (rivals.length > 0) {
      const named = await this.#baseName(folder);
      const isServed = namedBy(named, candidates).length > 0;
      throw ambiguousBase(
        fitting.map(({ name }) => name),
        isServed ? null : named,
      );
    }
    return await this.#checkAgainst(own, folder, client);
  }

  async #compare(
    members: readonly TierMember[],
    folder: string,
    client: string | undefined,
  ): Promise<{ readonly fitting: readonly TierMember[]; readonly misfits: readonly Misfit[] }> {
    const fitting: TierMember[] = [];
    const misfits: Misfit[] = [];
    for (const member of members) {
      try {
        await this.#checkFormat(member, folder, client);
        fitting.push(member);
      } catch (error) {
        if (!isMisfit(error)) throw error;
        misfits.push({ name: member.name, error });
      }
    }
    return { fitting, misfits };
  }

  /** The refusal, with the served bases besides the candidates that take the adapter. */
  async #orOthers(
    error: LorikeetError,
    candidates: readonly TierMember[],
    folder: string,
    client: string | undefined,
  ): Promise<LorikeetError> {
    const others = [...this.#members.values()].filter((member) => !candidates.includes(member));
    const { fitting } = await this.#compare(others, folder, client);
    return fitting.length === 0
      ? error
      : fitsOthers(
          error,
          fitting.map(({ name }) => name),
        );
  }

  async #candidates(folder: string, asked: string | null): Promise<readonly TierMember[]> {
    const members = [...this.#members.values()];
    if (asked !== null) return [this.#member(asked)];
    if (members.length === 1) return members;
    const named = namedBy(await this.#baseName(folder), members);
    return named.length > 0 ? named : members;
  }

  #baseName(folder: string): Promise<string | null> {
    return readBaseName(folder, this.validation.adapterLimits?.maxConfigBytes);
  }

  async #checkFormat({ base }: TierMember, folder: string, client: string | undefined): Promise<CheckedAdapter> {
    const checking = { baseNames: base.names, limits: this.validation.adapterLimits ?? {} };
    return await this.#validator.check(folder, base.modules, checking, client);
  }

  async #checkAgainst(member: TierMember, folder: string, client: string | undefined): Promise<Checked> {
    const { name, base, cacheBytes } = member;
    const checked = await this.#checkFormat(member, folder, client);
    // If it is too large for the cache, that is the error to report.
    const { summary } = checked;
    const more = summary.bytes <= cacheBytes ? await base.checkFurther(folder, checked) : [];
    return { ...checked, summary: { ...summary, warnings: [...summary.warnings, ...more] }, base: name };
  }
}

class FolderTier<Held extends Cacheable> implements Tier<Held> {
  readonly #folder: AdapterFolder;
  readonly #dispose: () => Promise<void>;
  readonly own: BaseAdapters;
  readonly cache: Tier<Held>["cache"];
  readonly mixtures: Tier<Held>["mixtures"];

  constructor(
    folder: AdapterFolder,
    parts: Pick<Tier<Held>, "cache" | "mixtures"> & { readonly name: string; readonly dispose: () => Promise<void> },
  ) {
    this.#folder = folder;
    this.#dispose = parts.dispose;
    this.own = new BaseAdapters(parts.name, () => folder.store);
    this.cache = parts.cache;
    this.mixtures = parts.mixtures;
  }

  get store(): AdapterStore {
    return this.#folder.store;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#dispose();
  }
}
