/** Runs the command as a child process: starts, watches and kills it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const isSource = import.meta.url.endsWith(".ts");
const main = fileURLToPath(new URL(`../../src/cli/${isSource ? "main.ts" : "lorikeet.cjs"}`, import.meta.url));
const limitMs = 180_000;
const children = new Set<ChildProcess>();

export interface Run {
  readonly child: ChildProcess;
  out: string;
  err: string;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | string | null>;
}

/** The words of a command line that runs `lorikeet` with arguments. */
export const commandOf = (args: readonly string[]): string[] => [
  process.execPath,
  ...(isSource ? ["--import", "tsx"] : []),
  main,
  ...args,
];

/** LORIKEET_TEST_DEVICE picks the device of tests; the command itself does not know that name. */
const deviceVariables = {
  LORIKEET_TEST_DEVICE: undefined,
  LORIKEET_DEVICE: process.env.LORIKEET_TEST_DEVICE ?? "cpu",
  LORIKEET_ALLOW_SOFTWARE_GPU: "true",
};

/** Runs `lorikeet` with arguments; what it writes is collected. It is killed after three minutes. */
export function start(args: readonly string[], environment: Record<string, string> = {}): Run {
  const [program = "", ...words] = commandOf(args);
  const child = spawn(program, words, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...deviceVariables, ...environment },
    timeout: limitMs,
  });
  children.add(child);
  const ended = once(child, "close").then(([code, signal]: (number | string | null)[]) => code ?? signal ?? null);
  const run: Run = { child, out: "", err: "", ended };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    run.out += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    run.err += text;
  });
  return run;
}

/** Runs `lorikeet` to its end. */
export async function finish(
  ...args: readonly string[]
): Promise<Pick<Run, "out" | "err"> & { code: Awaited<Run["ended"]> }> {
  const run = start(args);
  const code = await run.ended;
  return { out: run.out, err: run.err, code };
}

/** The address of a server's banner, once it listens. */
export async function addressOf(run: Run): Promise<string> {
  for (;;) {
    const address = /^address +(http:\S+)/m.exec(run.err)?.[1];
    if (address !== undefined) return address;
    const code = await Promise.race([run.ended, new Promise((resolve) => setTimeout(resolve, 50, "later"))]);
    assert.equal(code, "later", `the server ended before it listened: ${run.err}`);
  }
}

/** Kills what is still running. */
export function killAll(): void {
  for (const child of children) if (child.exitCode === null) child.kill("SIGKILL");
}
