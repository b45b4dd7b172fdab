/** What is left to do with a device that was lost. */
import { LorikeetError } from "../../base/errors.js";

/** Waits for a release. The memory of a lost device is gone: there is nothing to release. */
export async function released(release: Promise<void>): Promise<void> {
  try {
    await release;
  } catch (error) {
    if (!(error instanceof LorikeetError && error.code === "device_lost")) throw error;
  }
}
