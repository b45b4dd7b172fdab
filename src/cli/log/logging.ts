/** Creates the logger: pino, with one JSON object per line, or text for humans. */

import pino from "pino";
import type { Logger } from "../../base/log.js";
import type { LogQueue } from "./queue.js";
import { formatLine } from "./text.js";

export interface LogForm {
  /** Never written to the log. */
  readonly secrets?: readonly string[];
  /** Text for humans instead of JSON. */
  readonly isText?: boolean;
}

/** Logs lines at `level` and above, with ISO times; `silent` logs none. */
export function createLogger(
  level: string,
  queue: Pick<LogQueue, "write">,
  { secrets = [], isText = false }: LogForm = {},
): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    {
      write(line) {
        const clean = withoutSecrets(line, secrets);
        queue.write(isText ? formatLine(clean) : clean);
      },
    },
  );
}

/** A client may put a key into an id, a path or a prompt. Only then is the line parsed and cleaned. */
function withoutSecrets(line: string, secrets: readonly string[]): string {
  if (!secrets.some((secret) => line.includes(JSON.stringify(secret).slice(1, -1)))) return line;
  return `${JSON.stringify(clean(JSON.parse(line), secrets))}\n`;
}

function clean(value: unknown, secrets: readonly string[]): unknown {
  if (typeof value === "string") return secrets.reduce((rest, secret) => rest.replaceAll(secret, "[key]"), value);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((part) => clean(part, secrets));
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [clean(name, secrets), clean(part, secrets)]));
}
