/** What a benchmark needs of a service that runs: the very stack that `serve` wires, handed in by whoever wires it. */

import type { AdapterCache } from "../adapter/cache/cache.js";
import type { AdapterStore } from "../adapter/store/store.js";
import type { BaseDtype, StartedEngine } from "../engine/start.js";
import type { EngineObserver } from "../engine/types.js";
import type { Gateway } from "../gateway/gateway.js";
import type { Checkpoint } from "../model/types.js";

/** Disposing of it ends the engine and closes everything below it. */
export interface BenchStack extends AsyncDisposable {
  /** The base's name on the wire. */
  readonly name: string;
  readonly checkpoint: Checkpoint;
  readonly started: StartedEngine;
  readonly gateway: Gateway;
  readonly adapters: { readonly store: AdapterStore; readonly cache: AdapterCache } | null;
}

export interface StackRequest {
  readonly model: string;
  /** null: a service without adapters. */
  readonly adapters: string | null;
  readonly dtype: BaseDtype;
  readonly maxBatch: number;
  readonly maxContext: number;
  /** Room for so many bytes of adapters, in host memory and in the active set each. */
  readonly adapterBytes: number;
  readonly observer?: EngineObserver;
}

export type OpenStack = (request: StackRequest) => Promise<BenchStack>;
