/** The program in this process: what it prints and how it ends. */
import assert from "node:assert/strict";
import type { Command } from "commander";
import { createProgram, runProgram } from "../../src/cli/program.js";
import type { Terminal } from "../../src/cli/terminal.js";

export interface Printed {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Fails the test where the program would end the process. */
const terminalOf = (
  print: Pick<Terminal, "stdout" | "stderr">,
  environment: Readonly<Record<string, string>>,
): Terminal => ({
  ...print,
  environment,
  onSignal: () => () => {},
  onCrash: () => () => {},
  exitNow: (code) => assert.fail(`exited with ${code}`),
});

/** The commands and their options, which print nothing. */
export function silentProgram(): Promise<Command> {
  const nowhere = { write: () => true };
  return createProgram(terminalOf({ stdout: nowhere, stderr: nowhere }, {}));
}

/** Runs a command line to its end; fails the test where it would end the process. */
export async function runHere(args: readonly string[], environment: Record<string, string> = {}): Promise<Printed> {
  let out = "";
  let err = "";
  const print = {
    stdout: { write: (text: string) => (out += text) },
    stderr: { write: (text: string) => (err += text) },
  };
  const terminal = terminalOf(print, environment);
  const code = await runProgram([...args], terminal);
  return { code, out, err };
}
