/** The active set as the engine sees it, whatever layout its steps read. */
import type { Norm, TargetModule } from "../../model/blueprint.js";
import type { ModuleGroup } from "../../model/serving/adapters.js";
import type { FloatType } from "../../model/serving/target.js";
import { cpu } from "../../runtime/device/cpu.js";
import type { Device } from "../../runtime/device/device.js";
import { AdapterBank } from "./bank.js";
import { StackedBank } from "./stacked-bank.js";

export interface PoolOptions {
  readonly groups: readonly ModuleGroup[];
  /** A head that is tied to the embeddings, which adapters may change on the CPU. Default: none. */
  readonly tiedHead?: TargetModule | null;
  /** Norms, which adapters may change on the CPU. Default: none. */
  readonly norms?: readonly Norm[];
  /** Adapters that a step may use: no more than it has rows. */
  readonly places: number;
  /** Bound on bytes of all resident adapters, padding included. */
  readonly maxBytes: number;
  /** Where they lie. Default: the CPU. */
  readonly device?: Device;
  /** What adapters on a card are multiplied in. Default float32. */
  readonly type?: FloatType;
}

/** Grouped by rank classes on the CPU, side by side on a card. */
export type Bank = AdapterBank | StackedBank;

export function openPool(options: PoolOptions): Bank {
  const { device = cpu } = options;
  return device.capabilities.hostMemory ? new AdapterBank(options) : new StackedBank({ ...options, device });
}
