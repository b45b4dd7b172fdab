/** Whether the kernels of a model's steps may be captured once and replayed. */
import { attentions } from "../model/modules.js";
import type { DecoderConfig } from "../model/types.js";
import type { Capture, DeviceCapabilities } from "../runtime/device/device.js";

/** How the device captures steps of this model; null where it does not, or where layers have a window of attention, which a replay loses. */
export function captureFor(
  config: Pick<DecoderConfig, "layers">,
  { capture }: Pick<DeviceCapabilities, "capture">,
): Capture | null {
  if (!capture) return null;
  const isWindowed = attentions(config).some(({ window }) => window !== null);
  return isWindowed ? null : capture;
}
