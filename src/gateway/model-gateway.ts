/** What gateways of every kind of model offer: names, adapters, counts, and the end. */

import type { EngineLimits, EngineStats } from "../engine/types.js";
import type { AdapterHolder, Adapters, CachePort, Tier } from "./adapters.js";
import type { Model } from "./catalog.js";
import type { GatewayObserver } from "./observer.js";

export interface ModelStats {
  readonly engine: EngineStats;
  readonly limits: Pick<EngineLimits, "maxBatch">;
  readonly cache: ReturnType<CachePort["stats"]>;
  readonly tiers: Readonly<Record<Tier, number>>;
  /** Names of adapters with a running or a waiting request. */
  readonly runningAdapters: readonly string[];
  readonly waitingAdapters: readonly string[];
  /** By adapter, requests that wait or are being tokenized; by the base's name, what waits for the base in the engine's queue. */
  readonly waitingRequests: ReadonlyMap<string, number>;
}

/** Names that requests may use. */
export interface ModelNames {
  list(): Model[];
  /** Throws LorikeetError `model_not_found`. */
  get(name: string): Model;
  has(name: string): boolean;
  /** The stored name of an adapter, by that name or an alias. Throws LorikeetError `model_not_found`, or `conflict` for a base. */
  adapterNamed(name: string): string;
}

export interface ModelGateway {
  readonly models: ModelNames;
  /** Where the base's adapters are held and counted. */
  readonly holder: AdapterHolder;
  readonly adapters: Adapters;
  stats(): ModelStats;
  observe(observer: GatewayObserver): void;
  /** Refuses new requests, lets running ones end for `graceMs`, then ends the rest. */
  drain(graceMs: number): Promise<void>;
}

/** The counts of a base and its adapters. Forgets the activity of adapters that are gone. */
export function modelStats(
  base: string,
  limits: ModelStats["limits"],
  { engine, cache, activity }: AdapterHolder,
  adapters: Pick<Adapters, "has" | "tiers">,
): ModelStats {
  activity.prune((name) => adapters.has(name));
  const stats = engine.stats();
  const forBase = stats.queues.find(({ adapter }) => adapter === null)?.waiting ?? 0;
  return {
    engine: stats,
    limits,
    cache: cache.stats(),
    tiers: adapters.tiers(),
    runningAdapters: activity.names("running"),
    waitingAdapters: activity.names("waiting"),
    waitingRequests: activity.counts("waiting").set(base, forBase),
  };
}
