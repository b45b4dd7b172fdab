/** A process that prints the cards of NVIDIA's driver as JSON, so that a driver that crashes or hangs takes only this process with it. */

import { readCudaCards } from "./cuda-driver.js";
import type { CudaSurvey } from "./cuda-provider.js";

function survey(): CudaSurvey {
  try {
    return { cards: readCudaCards(), fault: null };
  } catch (error) {
    return { cards: [], fault: error instanceof Error ? error.message : String(error) };
  }
}

process.stdout.write(JSON.stringify(survey()));
