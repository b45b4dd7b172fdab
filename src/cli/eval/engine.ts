/** How `eval` runs a decoder: the types of its numbers, and an open device. */

import type { Checkpoint } from "../../model/types.js";
import type { DeviceChoice } from "../../runtime/device/choose.js";
import { openDevice } from "../../runtime/device/open.js";
import type { ServedOptions } from "../../train/served.js";
import { chooseFor } from "../device.js";
import { chooseHalves, type Halves, settleHalves } from "../halves.js";
import { usableThreads } from "../machine.js";
import type { EngineSettings } from "../options/engine-options.js";
import { choosePrecision } from "../precision.js";

type EngineFlags = Pick<
  EngineSettings,
  "dtype" | "headDtype" | "device" | "allowSoftwareGpu" | "threads" | "cacheDir"
> & {
  readonly maxBatch: number;
};

export interface EngineOptions extends Disposable {
  readonly options: ServedOptions;
  readonly choice: DeviceChoice;
  readonly halves: Halves;
}

/** How the engine runs a decoder here, on an open device. */
export async function openEngineOptions(
  checkpoint: Checkpoint,
  flags: EngineFlags,
  sizes: Pick<ServedOptions, "maxContext" | "adapter">,
): Promise<EngineOptions> {
  const precision = choosePrecision(checkpoint.parameterCount, flags);
  const choice = await chooseFor(flags);
  const auto = { kvCacheDtype: "auto", activationDtype: "auto" } as const;
  chooseHalves(auto, choice, precision.dtype);
  const device = await openDevice(choice);
  try {
    const halves = await settleHalves(auto, precision.dtype, device, checkpoint.config);
    const options = {
      ...{ checkpoint, device, maxBatch: flags.maxBatch, threads: flags.threads ?? usableThreads() },
      ...{ ...precision, ...halves, ...sizes },
      ...(flags.cacheDir === null ? {} : { cacheDirectory: flags.cacheDir }),
    };
    return { options, choice, halves, [Symbol.dispose]: () => device[Symbol.dispose]() };
  } catch (error) {
    device[Symbol.dispose]();
    throw error;
  }
}
