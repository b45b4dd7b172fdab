/** What a command may touch of the process: its streams, its environment and its signals. Tests hand in their own. */

import { exitAtOnce } from "../runtime/exit.js";
import { stopEarlyEnd } from "./early-end.js";
import type { LogStream } from "./log/queue.js";
import type { ProgressStream } from "./progress.js";
import { secretVariables } from "./serve/api-keys.js";

export interface Terminal {
  readonly stdout: LogStream;
  readonly stderr: ProgressStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Calls back at each SIGINT and SIGTERM, with the signal's name; returns how to stop listening. */
  onSignal(listener: (signal: "SIGINT" | "SIGTERM") => void): () => void;
  /** Calls back for each fault that nobody caught, which then does not end the process; returns how to stop listening. */
  onCrash(listener: (error: unknown) => void): () => void;
  /** Ends the process without waiting for anything. */
  exitNow(code: number): void;
}

/** The process's own terminal. Secrets of its environment stay here: reports of crashes and child processes do not get them. */
export function processTerminal(): Terminal {
  const environment = { ...process.env };
  for (const name of secretVariables) delete process.env[name];
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    environment,
    onSignal(listener) {
      const onInterrupt = (): void => listener("SIGINT");
      const onTerminate = (): void => listener("SIGTERM");
      process.on("SIGINT", onInterrupt).on("SIGTERM", onTerminate);
      stopEarlyEnd();
      return () => process.off("SIGINT", onInterrupt).off("SIGTERM", onTerminate);
    },
    onCrash(listener) {
      // Rejections that nobody handles are faults of this kind too.
      process.on("uncaughtException", listener);
      return () => process.off("uncaughtException", listener);
    },
    exitNow: exitAtOnce,
  };
}

export function printLine(stream: ProgressStream, line: string): void {
  stream.write(`${line}\n`);
}

export function printJson(stream: ProgressStream, value: unknown): void {
  stream.write(`${JSON.stringify(value, null, 2)}\n`);
}
