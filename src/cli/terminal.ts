/** What a command may touch of the process: its streams, its environment and its signals. Tests hand in their own. */

import type { ProgressStream } from "./progress.js";

export interface Terminal {
  readonly stdout: ProgressStream;
  readonly stderr: ProgressStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Calls back at each SIGINT and SIGTERM, with the signal's name; returns how to stop listening. */
  onSignal(listener: (signal: "SIGINT" | "SIGTERM") => void): () => void;
  /** Ends the process without waiting for anything. */
  exitNow(code: number): void;
}

/** The process's own terminal. */
export function processTerminal(): Terminal {
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    environment: process.env,
    onSignal(listener) {
      const onInterrupt = (): void => listener("SIGINT");
      const onTerminate = (): void => listener("SIGTERM");
      process.on("SIGINT", onInterrupt).on("SIGTERM", onTerminate);
      return () => process.off("SIGINT", onInterrupt).off("SIGTERM", onTerminate);
    },
    exitNow: (code) => process.exit(code),
  };
}

export function printLine(stream: ProgressStream, line: string): void {
  stream.write(`${line}\n`);
}

export function printJson(stream: ProgressStream, value: unknown): void {
  stream.write(`${JSON.stringify(value, null, 2)}\n`);
}
