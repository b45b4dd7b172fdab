/** How the server's process ends: by signals at any time, by uncaught errors, and even if something hangs meanwhile. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { after, describe, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { silent } from "../../src/base/log.js";
import { LogQueue } from "../../src/cli/log/queue.js";
import { watchLifetime } from "../../src/cli/serve/lifetime.js";
import type { Terminal } from "../../src/cli/terminal.js";
import { post } from "../support/client.js";
import { addressOf, commandOf, killAll, start } from "../support/process.js";
import { until } from "../support/rig.js";

const spawned: ChildProcess[] = [];
after(() => {
  killAll();
  for (const child of spawned) if (child.exitCode === null) child.kill("SIGKILL");
});

const serve = ["serve", "--model", "models/bookworm-7m", "--port", "0", "--max-batch", "2", "--threads", "1"];

/** Runs this at SIGUSR2 in the server's process. */
const planted = (code: string): Record<string, string> => ({
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`process.on("SIGUSR2", () => { ${code} })`)}`,
});

describe("signals", () => {
  test("a signal at any point of loading the model ends the process with 0", async () => {
    for (const waitMs of [150, 450, 900]) {
      const run = start([...serve, "--log-level", "silent"]);
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      run.child.kill("SIGTERM");
      const code = await run.ended;
      // Before Node itself listens to anything the system ends the process.
      assert.ok(code === 0 || code === "SIGTERM", `${waitMs} ms: ${code} ${run.err}`);
    }
  });

  test("the first is reported by name, the second ends the process at once", async () => {
    const exits: number[] = [];
    const { terminal, signal } = fakeTerminal(exits);
    using lifetime = watchLifetime(terminal, silent);
    signal("SIGTERM");
    assert.equal(await lifetime.end, "SIGTERM");
    assert.equal(lifetime.exitCode, 0);
    signal("SIGINT");
    assert.deepEqual(exits, [130]);
  });

  test("a thread that hangs does not keep the process alive", async () => {
    const hang =
      'import("node:fs").then((fs) => { for (let i = 0; i < 2; i++) fs.open(process.env.PIPE, "r", () => {}) })';
    const pipe = `/tmp/lorikeet-pipe-${process.pid}`;
    await once(spawn("mkfifo", [pipe], { stdio: "ignore" }), "close");
    const run = start(serve, { ...planted(hang), PIPE: pipe });
    await addressOf(run);
    run.child.kill("SIGUSR2");
    run.child.kill("SIGTERM");
    assert.equal(await run.ended, 0, run.err);
    await once(spawn("rm", [pipe], { stdio: "ignore" }), "close");
  });
});

describe("uncaught errors", () => {
  test("each is logged with its stack, running requests are answered, and the exit code is 70", async () => {
    const faults = 'void Promise.reject(new Error("rejected")); setImmediate(() => { throw new Error("thrown") })';
    const run = start(serve, planted(faults));
    const url = await addressOf(run);
    const body = { model: "bookworm-7m", prompt: "It", max_tokens: 200, ignore_eos: true, stream: true };
    const response = await post(url, "/v1/completions", body);
    run.child.kill("SIGUSR2");
    assert.match(await response.text(), /data: \[DONE\]\n\n$/);
    assert.equal(await run.ended, 70, run.err);
    const lines: { level: string; err?: { stack?: string } }[] = run.out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const stacks = lines.flatMap(({ level, err }) => (level === "error" ? [err?.stack ?? ""] : []));
    assert.deepEqual(
      [stacks.length, ...stacks.map((stack) => /^Error: (\w+)\n +at /.exec(stack)?.[1])],
      [2, "rejected", "thrown"],
    );
  });

  test("the exit code stays 70, even if the drain deadline passes", async () => {
    const exits: number[] = [];
    const { terminal, crash, signal } = fakeTerminal(exits);
    using lifetime = watchLifetime(terminal, silent);
    signal("SIGTERM");
    crash(new Error("late"));
    assert.equal(await lifetime.end, "SIGTERM");
    assert.equal(lifetime.exitCode, 70);
    lifetime.endWithin(1);
    await until(() => exits.length > 0, "the deadline");
    assert.deepEqual(exits, [70]);
  });

  test("a drain deadline that passes after a signal has its own exit code", async () => {
    const exits: number[] = [];
    const { terminal } = fakeTerminal(exits);
    using lifetime = watchLifetime(terminal, silent);
    lifetime.endWithin(1);
    await until(() => exits.length > 0, "the deadline");
    assert.deepEqual(exits, [75]);
  });
});

describe("a lost device", () => {
  const lost = new LorikeetError("device_lost", "The device was lost.");

  test("it ends the service with a separate exit code, and later requests get an error", async () => {
    const exits: number[] = [];
    using lifetime = watchLifetime(fakeTerminal(exits).terminal, silent);
    assert.equal(lifetime.loss, null);
    lifetime.lose(lost);
    assert.equal(await lifetime.end, "device-lost");
    assert.equal(lifetime.exitCode, 11);
    assert.equal(lifetime.loss, lost);
    lifetime.endWithin(1);
    await until(() => exits.length > 0, "the deadline");
    assert.deepEqual(exits, [11]);
  });

  test("an uncaught error keeps its exit code", () => {
    const { terminal, crash } = fakeTerminal([]);
    using lifetime = watchLifetime(terminal, silent);
    crash(new Error("first"));
    lifetime.lose(lost);
    assert.equal(lifetime.exitCode, 70);
  });
});

describe("logs without a reader", () => {
  test("lines past the bound are dropped, counted, and reported once when the reader resumes", () => {
    const written: string[] = [];
    let drained = (): void => {};
    const stream = {
      writableLength: 0,
      write: (line: string) => written.push(line),
      once: (_event: "drain", listener: () => void) => {
        drained = listener;
      },
    };
    const queue = new LogQueue(stream, 10);
    queue.onRecovered = (lines) => queue.write(`lost ${lines}`);
    queue.write("one");
    stream.writableLength = 11;
    queue.write("two");
    queue.write("three");
    stream.writableLength = 0;
    drained();
    queue.write("four");
    assert.deepEqual(written, ["one", "lost 2", "four"]);
    assert.equal(queue.dropped, 2);
  });

  test("a pipe without a reader takes bounded memory and does not keep the process alive", async () => {
    const [program = "", ...words] = commandOf([...serve, "--log-buffer-bytes", "4096"]);
    const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"] });
    spawned.push(child);
    let err = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err += text;
    });
    await until(() => /^address /m.test(err), "the banner");
    const url = /^address +(http:\S+)/m.exec(err)?.[1] ?? "";
    const path = `${url}/${"x".repeat(8_000)}`;
    const isDropping = async (): Promise<boolean> =>
      !/^lorikeet_log_lines_dropped_total 0$/m.test(await (await fetch(`${url}/metrics`)).text());
    do await Promise.all(Array.from({ length: 50 }, async () => await (await fetch(path)).text()));
    while (!(await isDropping()));
    child.kill("SIGTERM");
    const [code] = await once(child, "exit");
    assert.equal(code, 0);
  });
});

/** A terminal whose signals and faults a test makes. */
function fakeTerminal(exits: number[]) {
  const listeners: { signal: (name: "SIGINT" | "SIGTERM") => void; crash: (error: unknown) => void } = {
    signal: () => {},
    crash: () => {},
  };
  const terminal: Terminal = {
    stdout: { write: () => true },
    stderr: { write: () => true },
    environment: {},
    onSignal: (listener) => {
      listeners.signal = listener;
      return () => {};
    },
    onCrash: (listener) => {
      listeners.crash = listener;
      return () => {};
    },
    exitNow: (code) => void exits.push(code),
  };
  return {
    terminal,
    signal: (name: "SIGINT" | "SIGTERM") => listeners.signal(name),
    crash: (error: unknown) => listeners.crash(error),
  };
}
