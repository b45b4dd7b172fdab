/** Opens the device that was chosen. */
import type { CardFacts } from "./card.js";
import type { DeviceChoice } from "./choose.js";
import { cpu } from "./cpu.js";
import { openCuda } from "./cuda.js";
import type { Device } from "./device.js";
import { openWebgpu } from "./webgpu.js";

/** Dispose of the device after everything that lies on it. Throws `device_unavailable`. */
export async function openDevice(
  choice: DeviceChoice,
  { maxTurnMs }: Pick<CardFacts, "maxTurnMs"> = {},
): Promise<Device> {
  switch (choice.kind) {
    case "cpu":
      return cpu;
    case "webgpu": {
      const { name, type, memoryBytes, fp16 } = choice.adapter;
      return await openWebgpu({ name, software: type === "software", memoryBytes, fp16, maxTurnMs });
    }
    case "cuda": {
      const { name, memoryBytes } = choice.card;
      return await openCuda({ name, software: false, memoryBytes, maxTurnMs });
    }
  }
}
