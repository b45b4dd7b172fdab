/** What gateways of every kind of model offer: names, adapters, counts, and the end. */

import type { EngineLimits, EngineStats } from "../engine/types.js";
import type { Adapters, CachePort, Tier } from "./adapters.js";
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

export interface ModelGateway {
  readonly models: {
    list(): Model[];
    /** Throws LorikeetError `model_not_found`. */
    get(name: string): Model;
  };
  readonly adapters: Adapters;
  stats(): ModelStats;
  observe(observer: GatewayObserver): void;
  /** Refuses new requests, lets running ones end for `graceMs`, then ends the rest. */
  drain(graceMs: number): Promise<void>;
}
