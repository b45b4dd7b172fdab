/** The benchmark of task models: one run over tiny ones. Does not test speed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TaskReport } from "../../src/bench/task-bench.js";
import { formatTaskReport } from "../../src/cli/bench/tasks.js";
import { readPrinted } from "../support/printed-json.js";
import { runHere } from "../support/program.js";

test("a run reports each batch without adapters, with one and with eight, beside the plain session", async () => {
  const { code, out, err } = await runHere(
    ["bench", "tasks", "--quick", "--json", "--device", "cpu", "--threads", "1", "--lora-r", "4"],
    {},
  );
  assert.equal(code, 0, err);
  const report = readPrinted<TaskReport>(out);
  assert.deepEqual(
    report.models.map(({ adapted }) => adapted),
    [6, 11],
  );
  assert.deepEqual(
    report.cells.map(({ rows, adapters }) => `${rows} ${adapters}`),
    [1, 2].flatMap(() => ["1 session", "1 none", "1 one", "8 session", "8 none", "8 one", "8 distinct"]),
  );
  for (const { adapters, samples, ms, ratio, aim } of report.cells) {
    assert.equal(samples.length, report.effort.rounds);
    assert.ok(ms.min > 0 && ms.min <= ms.median && ms.median <= ms.max);
    if (adapters === "session") assert.equal(ratio.median, 1);
    assert.equal(aim !== null, adapters === "one");
  }
  assert.match(formatTaskReport(report), /^tiny ResNet +8 +8 distinct +\d/m);
});
