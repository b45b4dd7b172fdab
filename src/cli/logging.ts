/** Makes the logger that every room is handed: pino, one JSON object a line. */

import pino from "pino";
import type { Logger } from "../base/log.js";
import type { LogQueue } from "./log-queue.js";

/** Lines at `level` and above, with an ISO time. `silent` writes none. */
export function createLogger(level: string, queue: LogQueue): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line) => queue.write(line) },
  );
}
