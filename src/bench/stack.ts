/** The running service that a benchmark uses: the same stack as in `serve`, passed in by the CLI. */

import type { AdapterCache } from "../adapter/cache/cache.js";
import type { AdapterStore } from "../adapter/store/store.js";
import type { BaseDtype, StartedEngine } from "../engine/start.js";
import type { EngineObserver } from "../engine/types.js";
import type { Gateway } from "../gateway/gateway.js";
import type { Checkpoint } from "../model/types.js";
import type { Device } from "../runtime/device/device.js";

/** Disposing it stops the engine and closes everything below. */
export interface BenchStack extends AsyncDisposable {
  /** The base's name in requests. */
  readonly name: string;
  readonly checkpoint: Checkpoint;
  readonly device: Device;
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
  /** Bytes for adapters, in host memory and in the active set each. */
  readonly adapterBytes: number;
  readonly observer?: EngineObserver;
}

export type OpenStack = (request: StackRequest) => Promise<BenchStack>;
