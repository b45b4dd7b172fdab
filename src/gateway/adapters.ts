/** The use cases of adapters: listing them with their tiers, storing, pinning, deleting, reading back. Knows no HTTP. */
import type { AdapterCache } from "../adapter/cache/cache.js";
import { type AdapterCard, readCard } from "../adapter/card.js";
import type { AdapterStore, PutOptions } from "../adapter/store/store.js";
import type { AdapterRecord } from "../adapter/types.js";
import { packTar, type UploadBody, type Uploads } from "../adapter/upload/upload.js";
import { LorikeetError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Engine } from "../engine/types.js";
import { wellFormed } from "../text/characters.js";
import type { ActivityBook, AdapterActivity } from "./activity.js";
import { folderBelow } from "./allowed-folder.js";
import type { AdapterNames } from "./catalog.js";
import type { GatewayObserver } from "./observer.js";
import { tasksOfAdapter } from "./served-tasks.js";
import { unknownAdapter } from "./unknown-name.js";

export type StorePort = Pick<
  AdapterStore,
  "takesUploads" | "resolve" | "list" | "isNamed" | "hold" | "stage" | "stageCopy" | "put" | "remove" | "folder"
> &
  Pick<AdapterNames, "otherBaseOf">;
export type CachePort = Pick<AdapterCache, "prefetch" | "pin" | "unpin" | "forget" | "state" | "stats">;

export type Tier = "device" | "host" | "disk";

/** An adapter's record, the tier that holds it, and its activity. */
export interface AdapterInfo extends AdapterRecord {
  readonly tier: Tier;
  readonly pinned: boolean;
  readonly activity: AdapterActivity;
  /** What it is for, by Hugging Face's names. */
  readonly tasks: readonly string[];
}

/** An incoming adapter. */
export interface Upload extends UploadBody {
  readonly name: string;
  /** The base that it belongs to; null: the one that it names or fits. */
  readonly base?: string | null;
  /** Throw `precondition_failed` if the name exists. */
  readonly onlyNew: boolean;
}

export interface Stored {
  readonly outcome: "created" | "replaced" | "identical";
  readonly adapter: AdapterInfo;
}

export interface PackedAdapter {
  readonly digest: string;
  /** The PEFT folder as a tar, to be read once. Throws if the folder cannot be read. */
  readonly tar: AsyncIterable<Buffer>;
}

/** What holds the adapters of one base: its cache in host memory, its engine, and the book of their requests. */
export interface AdapterHolder {
  /** What the base is for, by Hugging Face's names. */
  readonly tasks: readonly string[];
  readonly cache: CachePort;
  readonly engine: Pick<Engine, "stats">;
  readonly activity: ActivityBook;
}

export interface AdaptersDeps {
  readonly store: StorePort;
  /** The holder of an adapter: its base's. */
  holderOf(record: Pick<AdapterRecord, "base">): AdapterHolder;
  /** The served names of the bases. */
  readonly baseNames: readonly string[];
  readonly uploads: Uploads;
  readonly observer: GatewayObserver;
  readonly logger: Logger;
  /** The only folder below which `copyFolder` may read; null refuses the call. */
  readonly copyRoot: string | null;
}

export class Adapters {
  readonly #deps: AdaptersDeps;

  constructor(deps: AdaptersDeps) {
    this.#deps = deps;
  }

  /** Whether uploads can be stored. */
  get takesUploads(): boolean {
    return this.#deps.store.takesUploads;
  }

  list(): AdapterInfo[] {
    const active = new ActiveAdapters();
    return this.#deps.store.list().map((record) => this.#info(record, active));
  }

  has(name: string): boolean {
    return this.#deps.store.resolve(name) !== null;
  }

  /** Whether an answer may still come from this adapter, or from the mixture of these names, which are joined by `+`. */
  serves(names: string): boolean {
    return names.split("+").every((name) => this.has(name));
  }

  /** Throws LorikeetError `adapter_not_found`. */
  get(name: string): AdapterInfo {
    return this.#info(this.#record(name), new ActiveAdapters());
  }

  /** The number of adapters in each tier. */
  tiers(): Record<Tier, number> {
    const tiers = { device: 0, host: 0, disk: 0 };
    const active = new ActiveAdapters();
    for (const record of this.#deps.store.list()) tiers[this.#tier(record, active)]++;
    return tiers;
  }

  /** Receives, checks and stores an adapter. Requests can use it once this resolves. Rejects with what receiving, checking or storing throws. */
  async upload(upload: Upload, signal: AbortSignal): Promise<Stored> {
    const { store, uploads, observer } = this.#deps;
    try {
      const { name, onlyNew, client, base = null } = upload;
      this.#checkBase(base);
      if (onlyNew && this.has(name)) throw nameTaken(name);
      const keep = (staged: string): Promise<Stored> =>
        this.store(name, staged, onlyNew, { ...(client !== undefined && { client }), base });
      const stored = await uploads.receive(upload, store, keep, signal);
      observer.uploaded?.(stored.outcome);
      return stored;
    } catch (error) {
      observer.uploaded?.(error instanceof LorikeetError && error.status < 500 ? "refused" : "failed");
      throw error;
    }
  }

  /** Points a name at a staged folder. A pin belongs to the name: it moves to the new version if there is room. */
  async store(
    name: string,
    staged: string,
    onlyNew: boolean,
    { client = "unknown", base = null, job }: Pick<PutOptions, "client" | "base" | "job"> = {},
  ): Promise<Stored> {
    const { store, holderOf } = this.#deps;
    const before = store.resolve(name);
    const wasPinned = before !== null && holderOf(before).cache.state(before.weightsDigest).pinned;
    const { record, outcome } = await store.put(name, staged, {
      ...(onlyNew ? { ifNoneMatch: "*" } : {}),
      ...{ client, base },
      ...(job !== undefined && { job }),
    });
    if (before && (before.weightsDigest !== record.weightsDigest || before.base !== record.base)) {
      this.#giveUp(before);
      if (wasPinned) await this.#movePin(record);
    }
    // The record of a version that was already stored describes its first upload; the reply describes this one.
    const [warnings, ignored] = [record.warnings.map(wellFormed), record.ignored.map(wellFormed)];
    return { outcome, adapter: { ...this.get(record.name), warnings, ignored } };
  }

  /**
   * Stores a copy of a local folder below the one that the operator allowed. Throws LorikeetError `route_not_found` if none is allowed,
   * `adapter_not_found` for a folder outside it, `invalid_value` for an unknown base, `precondition_failed` if `onlyNew` is set and the name exists, or what storing throws.
   */
  async copyFolder(name: string, path: string, onlyNew: boolean, base: string | null = null): Promise<Stored> {
    const { store, copyRoot } = this.#deps;
    if (copyRoot === null) {
      const message = "Loading adapters by path is off; the operator turns it on with `--lora-path-root <dir>`.";
      throw new LorikeetError("route_not_found", message);
    }
    this.#checkBase(base);
    if (onlyNew && this.has(name)) throw nameTaken(name);
    const { root, folder } = await folderBelow(copyRoot, path);
    return this.store(name, await store.stageCopy(folder, { within: root }), onlyNew, { base });
  }

  /** Pins or unpins. Throws LorikeetError `adapter_not_found`, `conflict` or what loading throws. */
  async pin(name: string, pinned: boolean): Promise<AdapterInfo> {
    const { store, holderOf } = this.#deps;
    const record = this.#record(name);
    const { cache } = holderOf(record);
    const release = store.hold(record);
    try {
      if (pinned) await cache.pin(record.weightsDigest);
      else cache.unpin(record.weightsDigest);
    } finally {
      release();
    }
    return this.get(name);
  }

  /** Removes a name for new requests; running ones finish. Throws LorikeetError `adapter_not_found` or `conflict`. */
  async remove(name: string): Promise<Pick<AdapterRecord, "name" | "digest">> {
    const before = this.#deps.store.resolve(name);
    const removed = await this.#deps.store.remove(name);
    if (before) {
      this.#giveUp(before);
      this.#deps.holderOf(before).activity.forget(name);
    }
    return removed;
  }

  /** What an adapter's own files say about it. Throws LorikeetError `adapter_not_found`. */
  async card(name: string): Promise<AdapterCard> {
    const { store } = this.#deps;
    const record = this.#record(name);
    const release = store.hold(record);
    try {
      return await readCard(await store.folder(record.digest));
    } finally {
      release();
    }
  }

  /** Reads an adapter back. Its version is held until the reader ends or stops. Throws LorikeetError `adapter_not_found`. */
  async download(name: string): Promise<PackedAdapter> {
    const { store } = this.#deps;
    const record = this.#record(name);
    const { digest } = record;
    const release = store.hold(record);
    try {
      return { digest, tar: packHeld(await store.folder(digest), release) };
    } catch (error) {
      release();
      throw error;
    }
  }

  #checkBase(base: string | null): void {
    const { baseNames } = this.#deps;
    if (base === null || baseNames.includes(base)) return;
    const known = baseNames.map((name) => `"${name}"`).join(", ");
    const message = `\`base\` is ${JSON.stringify(base.slice(0, 200))}; ${known} ${baseNames.length === 1 ? "is" : "are"} allowed.`;
    throw new LorikeetError("invalid_value", message, { param: "base", allowed: baseNames });
  }

  /** Drops a removed name's weights from its base's memory, unless another name of the base points at them. */
  #giveUp({ base, weightsDigest }: AdapterRecord): void {
    const { store, holderOf } = this.#deps;
    const isShared = (other: AdapterRecord): boolean => other.weightsDigest === weightsDigest && other.base === base;
    if (store.isNamed(weightsDigest) && store.list().some(isShared)) return;
    holderOf({ base }).cache.forget(weightsDigest);
  }

  async #movePin(record: AdapterRecord): Promise<void> {
    try {
      await this.#deps.holderOf(record).cache.pin(record.weightsDigest);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#deps.logger.warn(
        { adapter: record.name, digest: record.digest, reason },
        "A replaced adapter lost its pin",
      );
    }
  }

  #record(name: string): AdapterRecord {
    const record = this.#deps.store.resolve(name);
    if (record) return record;
    const known = this.#deps.store.list().map((other) => other.name);
    throw unknownAdapter(name, known);
  }

  #tier(record: AdapterRecord, active: ActiveAdapters): Tier {
    const holder = this.#deps.holderOf(record);
    if (active.of(holder).has(record.weightsDigest)) return "device";
    return holder.cache.state(record.weightsDigest).resident ? "host" : "disk";
  }

  /** Texts of the store may quote an adapter's files, so they are made well-formed. */
  #info(record: AdapterRecord, active: ActiveAdapters): AdapterInfo {
    const { cache, activity, tasks } = this.#deps.holderOf(record);
    return {
      ...record,
      tasks: tasksOfAdapter(tasks, record),
      tier: this.#tier(record, active),
      pinned: cache.state(record.weightsDigest).pinned,
      activity: activity.of(record.name),
      warnings: record.warnings.map(wellFormed),
      ignored: record.ignored.map(wellFormed),
    };
  }
}

/** The digests of weights on each engine's device, read once for each engine. */
class ActiveAdapters {
  readonly #known = new Map<AdapterHolder, ReadonlySet<string>>();

  of(holder: AdapterHolder): ReadonlySet<string> {
    const known = this.#known.get(holder) ?? new Set(holder.engine.stats().activeAdapters);
    this.#known.set(holder, known);
    return known;
  }
}

function nameTaken(name: string): LorikeetError {
  return new LorikeetError("precondition_failed", `The adapter "${name}" exists.`, { param: "name" });
}

async function* packHeld(folder: string, release: () => void): AsyncGenerator<Buffer, void, undefined> {
  try {
    yield* packTar(folder);
  } finally {
    release();
  }
}
