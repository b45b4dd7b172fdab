/** The parts of the process that a command uses: streams, environment and signals. Tests pass their own. */

import { isObject } from "../base/json.js";
import { exitAtOnce } from "../runtime/exit.js";
import { stopEarlyEnd } from "./early-end.js";
import type { LogStream } from "./log/queue.js";
import type { ProgressStream } from "./progress.js";
import { secretVariables } from "./serve/api-keys.js";

export interface Terminal {
  readonly stdout: LogStream;
  readonly stderr: ProgressStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Calls the listener on each SIGINT and SIGTERM; returns a function that stops that. */
  onSignal(listener: (signal: "SIGINT" | "SIGTERM") => void): () => void;
  /** Calls the listener for each uncaught error, which then does not end the process; returns a function that stops that. */
  onCrash(listener: (error: unknown) => void): () => void;
  /** Ends the process at once. */
  exitNow(code: number): void;
}

/** The process's own terminal. Removes secrets from process.env, so that crash reports and child processes do not see them. */
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
      // Includes unhandled rejections.
      process.on("uncaughtException", listener);
      return () => process.off("uncaughtException", listener);
    },
    exitNow: exitAtOnce,
  };
}

export function printLine(stream: ProgressStream, line: string): void {
  stream.write(`${line}\n`);
}

/** Prints a command's own result, with snake_case keys like the HTTP API's. */
export function printJson(stream: ProgressStream, value: unknown): void {
  stream.write(`${JSON.stringify(value, snakeKeys, 2)}\n`);
}

/** Prints a response of the API as it is: its keys may be data, such as the tokens of log-probabilities. */
export function printResponse(stream: ProgressStream, response: unknown): void {
  stream.write(`${JSON.stringify(response, null, 2)}\n`);
}

function snakeKeys(_key: string, value: unknown): unknown {
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [snakeCase(key), item]));
}

const snakeCase = (name: string): string =>
  name.replace(/([a-z0-9])([A-Z])/g, (_, before, capital) => `${before}_${capital.toLowerCase()}`);
