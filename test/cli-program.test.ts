/** The command as it is typed: help, versions, wrong words, and `inspect`. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { runProgram } from "../src/cli/program.js";
import type { Terminal } from "../src/cli/terminal.js";

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(args: readonly string[], environment: Record<string, string> = {}): Promise<Outcome> {
  let out = "";
  let err = "";
  const terminal: Terminal = {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    environment,
    onSignal: () => () => {},
    exitNow: (code) => assert.fail(`exited with ${code}`),
  };
  const code = await runProgram(args, terminal);
  return { code, out, err };
}

test("help and version go to stdout and end with 0; no command shows help and ends with 2", async () => {
  const help = await run(["--help"]);
  assert.equal(help.code, 0);
  for (const command of ["inspect"]) assert.match(help.out, new RegExp(`^ {2}${command} `, "m"));
  const version = await run(["--version"]);
  assert.deepEqual([version.code, version.err], [0, ""]);
  assert.match(version.out, /^\d+\.\d+\.\d+\n$/);
  assert.equal((await run([])).code, 2);
});

test("a wrong command, option or count of arguments is one line on stderr and exit code 2", async () => {
  for (const args of [["fly"], ["inspect"], ["inspect", "a", "--jsn"], ["inspect", "a", "b"], ["inspect", "/"]]) {
    const { code, out, err } = await run(args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, /^lorikeet: [^\n]+\n$/, args.join(" "));
  }
});

test("inspect describes an adapter folder, alone and against its base", async () => {
  for (const base of [[], ["--model", "models/bookworm-7m"]]) {
    const { code, out } = await run(["inspect", "adapters/plays", ...base]);
    assert.equal(code, 0);
    assert.match(out, /^rank +up to 16$/m);
    assert.match(out, /^model\.layers\.\*\.mlp\.down_proj +8 +16 +32 +2 +768 +256 +F32$/m);
  }
  const wrong = await run(["inspect", "adapters/plays", "--model", "test/fixtures/oracle/llama"]);
  assert.equal(wrong.code, 1);
  assert.match(wrong.err, /^lorikeet: /);
});

test("inspect describes a model folder, as a table and as JSON", async () => {
  const table = await run(["inspect", "models/bookworm-7m"]);
  assert.equal(table.code, 0);
  assert.match(table.out, /^family +llama$/m);
  assert.match(table.out, /^parameters +7\.3 M \(7,344,384\)$/m);
  const json: unknown = JSON.parse((await run(["inspect", "models/bookworm-7m", "--json"])).out);
  assert.ok(typeof json === "object" && json !== null && "parameters" in json);
  assert.equal(json.parameters, 7_344_384);
});
