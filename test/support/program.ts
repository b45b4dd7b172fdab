/** The program in this process: what it prints and how it ends. */
import assert from "node:assert/strict";
import { runProgram } from "../../src/cli/program.js";
import type { Terminal } from "../../src/cli/terminal.js";

export interface Printed {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line to its end; fails the test where it would end the process. */
export async function runHere(args: readonly string[], environment: Record<string, string> = {}): Promise<Printed> {
  let out = "";
  let err = "";
  const terminal: Terminal = {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    environment,
    onSignal: () => () => {},
    onCrash: () => () => {},
    exitNow: (code) => assert.fail(`exited with ${code}`),
  };
  const code = await runProgram([...args], terminal);
  return { code, out, err };
}
