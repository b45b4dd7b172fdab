/** The command in this process: its exit code, and what it wrote. */
import assert from "node:assert/strict";
import { runProgram } from "../../src/cli/program.js";

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export async function run(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  let out = "";
  let err = "";
  const code = await runProgram(args, {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    environment,
    onSignal: () => () => {},
    onCrash: () => () => {},
    exitNow: (code) => assert.fail(`exited with ${code}`),
  });
  return { code, out, err };
}
