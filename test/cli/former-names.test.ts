/** An option under its former name is an error that gives the new one: as a flag, a key of a config file or an environment variable. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { benchTaskOptions, benchTrainOptions } from "../../src/cli/bench/options.js";
import { evalOptions } from "../../src/cli/eval/options.js";
import { formerNames } from "../../src/cli/options/former-names.js";
import { environmentName, flagName } from "../../src/cli/options/names.js";
import type { OptionTable } from "../../src/cli/options/option.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { mergeOptions } from "../../src/cli/train/merge-options.js";
import { trainOptions } from "../../src/cli/train/options.js";
import { runHere } from "../support/program.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-former-names-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const commands: readonly (readonly [args: readonly string[], table: OptionTable])[] = [
  [["train"], trainOptions],
  [["eval"], evalOptions],
  [["merge"], mergeOptions],
  [["bench", "train"], benchTrainOptions],
  [["bench", "tasks"], benchTaskOptions],
  [["serve"], serveOptions],
];

test("every former name has a successor, and is itself an option of no command", () => {
  for (const [former, successors] of Object.entries(formerNames)) {
    assert.ok(
      successors.every((name) => commands.some(([, table]) => name in table)),
      former,
    );
    assert.ok(!commands.some(([, table]) => former in table), former);
  }
});

for (const [args, table] of commands) {
  const name = args.join(" ");
  const renamed = Object.entries(formerNames).flatMap(([former, successors]) => {
    const successor = successors.find((name) => name in table);
    return successor === undefined ? [] : [[former, successor] as const];
  });

  test(`${name}: a former flag is refused with the new one`, async () => {
    assert.ok(renamed.length > 0);
    for (const [former, successor] of renamed) {
      for (const flag of [[`--${flagName(former)}`, "1"], [`--${flagName(former)}=1`]]) {
        const { code, err } = await runHere([...args, ...flag]);
        assert.equal(code, 2);
        assert.equal(err, `lorikeet: --${flagName(former)} is now --${flagName(successor)}.\n`);
      }
    }
  });

  test(`${name}: a former environment variable is refused with the new one`, async () => {
    for (const [former, successor] of renamed) {
      const { code, err } = await runHere([...args], { [environmentName(former)]: "1" });
      assert.equal(code, 2);
      assert.equal(err, `lorikeet: ${environmentName(former)} is now ${environmentName(successor)}.\n`);
    }
  });

  test(`${name}: a former key of a config file is refused with the new one`, async () => {
    for (const [former, successor] of renamed) {
      const path = join(folder, "config.yaml");
      writeFileSync(path, `${flagName(former)}: 1\n`);
      const { code, err } = await runHere([...args, "--config", path]);
      assert.equal(code, 2);
      assert.ok(err.startsWith(`lorikeet: "${flagName(former)}" in ${path} is now "`), err);
      assert.ok(err.includes(`"${flagName(successor)}"`), err);
    }
  });
}

test("all former flags of a command line are reported together, negated ones too", async () => {
  const { code, err } = await runHere(["train", "--rank", "8", "--no-dora", "--rate=1e-4", "--model", "x"]);
  assert.equal(code, 2);
  assert.equal(
    err,
    "lorikeet: --rank is now --lora-r. --no-dora is now --no-use-dora. --rate is now --learning-rate.\n",
  );
});

test("eval's former --exact is refused, while serve keeps its own", async () => {
  assert.match((await runHere(["eval", "--no-exact"])).err, /^lorikeet: --no-exact is now --no-exact-match\.\n$/);
  assert.doesNotMatch((await runHere(["serve", "--exact"])).err, /exact-match/);
});

test("merge's former --dtype is refused, while train keeps its own", async () => {
  assert.match((await runHere(["merge", "--dtype=fp32"])).err, /^lorikeet: --dtype is now --output-dtype\.\n$/);
  assert.doesNotMatch((await runHere(["train", "--dtype", "int8"])).err, /output-dtype/);
});

test("a former variable of another command changes nothing", async () => {
  const { err } = await runHere(["eval"], { LORIKEET_PING: "1", LORIKEET_RATE: "1" });
  assert.match(err, /^lorikeet: --model .* are required\.\n$/);
});
