/** What is left to do with a device that was lost. */
import { hasCode } from "../../base/errors.js";

/** Waits for a release. The memory of a lost device is gone: there is nothing to release. */
export async function released(release: Promise<void>): Promise<void> {
  try {
    await release;
  } catch (error) {
    if (!hasCode(error, "device_lost")) throw error;
  }
}
