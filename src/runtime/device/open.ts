/** Opens the device that was chosen. */
import { LorikeetError } from "../../base/errors.js";
import type { DeviceChoice } from "./choose.js";
import { cpu } from "./cpu.js";
import type { Device } from "./device.js";

/** Dispose of the device after everything that lies on it. Throws `device_unavailable`. */
export async function openDevice(choice: DeviceChoice): Promise<Device> {
  if (choice.kind === "cpu") return cpu;
  throw new LorikeetError("device_unavailable", `Lorikeet does not run on ${choice.kind} yet; use --device cpu.`);
}
