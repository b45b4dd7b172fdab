/** A process that prints what Vulkan offers as JSON, so that a driver that crashes or hangs takes only this process with it. */

import type { GpuSurvey } from "./survey.js";
import { readAdapters } from "./vulkan.js";

function survey(): GpuSurvey {
  try {
    return { adapters: readAdapters(), fault: null };
  } catch (error) {
    return { adapters: [], fault: error instanceof Error ? error.message : String(error) };
  }
}

process.stdout.write(JSON.stringify(survey()));
