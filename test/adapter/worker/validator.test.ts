import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import type { CheckedAdapter } from "../../../src/adapter/format.js";
import { type ValidationOutcome, Validator } from "../../../src/adapter/worker/validator.js";
import { AdapterWorker } from "../../../src/adapter/worker/worker.js";
import { type Deferred, deferred } from "../../../src/base/async.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { edited, modulesOf, oracle, refusalOf, valid } from "../format/helpers.js";

const checked = {} as CheckedAdapter;

/** A worker whose checks end when the test says so. */
function fakeWorker() {
  const started: string[] = [];
  const running: Deferred<CheckedAdapter>[] = [];
  const check = (folder: string): Promise<CheckedAdapter> => {
    started.push(folder);
    const done = deferred<CheckedAdapter>();
    running.push(done);
    return done.promise;
  };
  const worker = { check, close: async () => {} };
  return { started, worker, end: () => running.shift() };
}

test("one check runs at a time, and clients take turns, the operator among them", async () => {
  const { started, worker, end } = fakeWorker();
  const validator = new Validator({ worker });
  const asked = ["a1:a", "a2:a", "a3:a", "b1:b", "scan", "c1:c", "b2:b"].map((name) => {
    const [folder = "", client = null] = name.split(":");
    return validator.check(folder, [], {}, client);
  });
  for (let i = 1; i <= asked.length; i++) {
    assert.equal(started.length, i);
    end()?.resolve(checked);
    await pause(0);
  }
  assert.deepEqual(started, ["a1", "a2", "b1", "scan", "c1", "a3", "b2"]);
  await Promise.all(asked);
});

test("checks of clients that wait are bounded, those of the operator are not", async () => {
  const { worker, end } = fakeWorker();
  const outcomes: ValidationOutcome[] = [];
  const validator = new Validator({ worker, maxWaiting: 2, observe: (outcome) => outcomes.push(outcome) });
  const asked = ["a", "a", "b", null, null].map((client) => validator.check("x", [], {}, client));
  assert.equal(validator.waiting, 2);
  const error = await refusalOf(validator.check("x", [], {}, "c"));
  assert.deepEqual([error.code, error.status, error.found, error.allowed], ["validations_busy", 429, 2, 2]);
  end()?.resolve(checked);
  await asked[0];
  await pause(0);
  end()?.reject(new LorikeetError("adapter_invalid", "No."));
  await assert.rejects(asked[1] ?? Promise.resolve());
  await pause(0);
  for (const _ of [2, 3, 4]) {
    end()?.resolve(checked);
    await pause(0);
  }
  await Promise.allSettled(asked);
  assert.deepEqual(outcomes, ["busy", "passed", "refused", "passed", "passed", "passed"]);
});

const llama = await modulesOf(`${oracle}/llama`);

test("a check that passes its deadline ends with its thread, and the next one is served by another", async (t) => {
  const outcomes: ValidationOutcome[] = [];
  const validator = new Validator({ timeoutMs: 1, observe: (outcome) => outcomes.push(outcome) });
  t.after(() => validator.close());
  const error = await refusalOf(validator.check(valid, llama));
  assert.deepEqual([error.code, error.status], ["validation_timeout", 422]);
  assert.equal(error.message, "Checking the adapter took longer than 1 ms and was stopped.");
  assert.deepEqual(outcomes, ["timeout"]);
  const patient = new Validator();
  t.after(() => patient.close());
  assert.equal((await patient.check(valid, llama)).summary.modules, 6);
});

test("a deadline ends the thread even in the middle of a computation, and jobs of later threads go on", async (t) => {
  const worker = new AdapterWorker({ atOnce: 1, deadlineMs: 2_000 });
  t.after(() => worker.close());
  // Matching this takes far longer than the deadline, were its budget not there: so the limits are lifted.
  const pattern = `(?:${"a?".repeat(400)}){40}`;
  const entries = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`${pattern}|x${i}`, 8]));
  const folder = await edited({ config: { rank_pattern: entries } });
  const error = await refusalOf(worker.check(folder, llama, { limits: { maxPatternSize: 2 ** 40 } }));
  assert.equal(error.code, "validation_timeout");
  assert.equal((await worker.check(valid, llama)).summary.modules, 6);
});

test("closing ends running and waiting jobs", async () => {
  const validator = new Validator();
  const asked = [1, 2, 3].map(() => refusalOf(validator.check(valid, llama, {}, "a")));
  await validator.close();
  for (const error of await Promise.all(asked)) assert.equal(error.code, "draining");
});
