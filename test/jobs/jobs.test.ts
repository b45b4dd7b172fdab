/** Fine-tuning jobs over processes that train nothing: queue, states, restarts, bounds, ownership. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { LorikeetError } from "../../src/base/errors.js";
import { sampleEvents } from "../../src/cli/jobs/task-run.js";
import type { FileFacts } from "../../src/jobs/file-store.js";
import { adapterNameOf, aliasOf, resolveAlias } from "../../src/jobs/names.js";
import { Pausing } from "../../src/jobs/pausing.js";
import type { JobRequest } from "../../src/jobs/types.js";
import { fakeTrainer, openTuning, type Tuning, type TuningOptions } from "../support/fake-trainer.js";
import { withFaults } from "../support/faulty-files.js";
import { until } from "../support/rig.js";

const rows = '{"messages":[]}\n'.repeat(30);

async function addFile({ files }: Tuning, more: Partial<FileFacts> = {}) {
  const draft = await files.draft();
  await writeFile(draft.content, rows);
  const facts: FileFacts = { owner: "me", filename: "a.jsonl", purpose: "fine-tune", lines: 30, ttlMs: null };
  return files.keep(draft, { ...facts, ...more });
}

const none = { epochs: null, batchSize: null, learningRateMultiplier: null, beta: null };

async function create(tuning: Tuning, more: Partial<JobRequest> = {}, owner = "me") {
  const trainingFile = more.trainingFile ?? (await addFile(tuning, { owner })).id;
  const asked: JobRequest = {
    ...{ model: "base", method: "supervised", hyperparameters: none, trainingFile, validationFile: null },
    ...{ suffix: "mine", seed: 1, metadata: null },
    ...more,
  };
  return tuning.jobs.create(owner, asked);
}

const codeOf = (code: string) => (error: unknown) => error instanceof LorikeetError && error.code === code;
const statusOf = ({ jobs }: Tuning, id: string) => jobs.get("me", id).status;
const reaches = (tuning: Tuning, id: string, status: string) =>
  until(() => statusOf(tuning, id) === status, `status ${status}`);
const begins = ({ trainer }: Tuning, count: number) => until(() => trainer.processes.length === count, "a process");

describe("a job", () => {
  test("trains, publishes its adapter and its checkpoints, and keeps figures but no data", async () => {
    await using tuning = await openTuning();
    const { id } = await create(tuning, { metadata: { description: "Counts." } });
    await begins(tuning, 1);
    const [process] = tuning.trainer.processes;
    assert.deepEqual(
      [process?.run.name, process?.run.description],
      [`ft-mine-${id.slice("ftjob-".length)}`, "Counts."],
    );
    assert.deepEqual(await readdir(process?.run.data ?? ""), ["train.jsonl"]);
    process?.succeed({ checkpoints: [0, 1, 2].map((step) => ({ step, folder: `/step-${step}` })) });
    await reaches(tuning, id, "succeeded");
    const job = tuning.jobs.get("me", id);
    const short = id.slice("ftjob-".length);
    assert.equal(job.adapter, `ft-mine-${short}`);
    assert.deepEqual(
      tuning.trainer.published.map(([name]) => name),
      [`ft-mine-${short}`, `ft-mine-${short}-step-1`],
    );
    assert.deepEqual(job.heldOut, { rows: 3, before: 4, after: 2 });
    assert.deepEqual(
      job.checkpoints.map(({ figures }) => [figures.step, figures.trainLoss, figures.validLoss]),
      [
        [1, 3.5, null],
        [2, 2.5, 2],
      ],
    );
    const told = (await tuning.jobs.events("me", id)).map(({ message }) => message);
    assert.equal(told[0], `Created fine-tuning job: ${id}`);
    assert.ok(told.includes("Held-out loss over 3 examples: 4.0000 before, 2.0000 after"));
    assert.equal(told.at(-1), "The job has successfully completed");
    const [csv = ""] = job.resultFiles;
    let text = "";
    for await (const piece of tuning.files.content("me", csv)) text += piece.toString();
    assert.equal(text.split("\n")[0], "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy");
    assert.equal(text.split("\n")[3], "2,2.5,,2,0.5");
    await tuning.close();
    assert.deepEqual((await readdir(join(tuning.path, "jobs", id))).sort(), ["events.jsonl", "job.json"]);
  });

  test("fails with a fault that names no folder, and leaves its turn to the next", async () => {
    await using tuning = await openTuning();
    const [first, second] = [await create(tuning), await create(tuning)];
    await begins(tuning, 1);
    const fault = { code: "data_invalid", message: "train.jsonl:3: is not JSON", param: "training_file" };
    tuning.trainer.processes[0]?.end({ type: "failed", fault });
    await reaches(tuning, first.id, "failed");
    assert.deepEqual(tuning.jobs.get("me", first.id).error, fault);
    await begins(tuning, 2);
    tuning.trainer.publishFault = new LorikeetError("adapter_invalid", "The adapter is broken.");
    tuning.trainer.processes[1]?.succeed();
    await reaches(tuning, second.id, "failed");
    assert.equal(tuning.jobs.get("me", second.id).error?.code, "adapter_invalid");
  });

  test("pauses at a checkpoint, resumes in the same folder, and is cancelled with its data", async () => {
    await using tuning = await openTuning();
    const { id } = await create(tuning);
    await begins(tuning, 1);
    tuning.trainer.processes[0]?.report({ type: "opened", steps: 2, trainRows: 1, validRows: 0, warnings: [] });
    const figures = { step: 1, trainLoss: 3, trainAccuracy: null, validLoss: null, validAccuracy: null };
    tuning.trainer.processes[0]?.report({ type: "step", figures, rate: 1 });
    assert.equal((await tuning.jobs.pause("me", id)).status, "paused");
    assert.deepEqual(tuning.trainer.processes[0]?.signals, ["proceed", "stop"]);
    await assert.rejects(tuning.jobs.pause("me", id), codeOf("conflict"));
    await tuning.jobs.resume("me", id);
    await begins(tuning, 2);
    assert.equal(tuning.trainer.processes[1]?.run.output, tuning.trainer.processes[0]?.run.output);
    tuning.trainer.processes[1]?.report({ type: "opened", steps: 2, trainRows: 1, validRows: 0, warnings: [] });
    assert.equal(statusOf(tuning, id), "running", "its files were validated before");
    const told = (await tuning.jobs.events("me", id)).map(({ message }) => message);
    assert.equal(told.filter((message) => /validat/i.test(message)).length, 2);
    await assert.rejects(tuning.jobs.resume("me", id), codeOf("conflict"));
    assert.equal((await tuning.jobs.cancel("me", id)).status, "cancelled");
    assert.deepEqual(tuning.trainer.processes[1]?.signals, ["proceed", "kill"]);
    await assert.rejects(tuning.jobs.cancel("me", id), codeOf("conflict"));
    assert.deepEqual((await readdir(join(tuning.path, "jobs", id))).sort(), ["events.jsonl", "job.json"]);
  });

  test("is paused by a fault that may pass, and publishes what it has when it is resumed", async () => {
    await using tuning = await openTuning();
    const { id } = await create(tuning);
    await begins(tuning, 1);
    tuning.trainer.publishFault = new LorikeetError("store_full", "The store is full.");
    tuning.trainer.processes[0]?.succeed({ checkpoints: [{ step: 1, folder: "/step-1" }] });
    await reaches(tuning, id, "paused");
    const last = (await tuning.jobs.events("me", id)).at(-1);
    assert.equal(last?.level, "error");
    assert.match(last.message, /The store is full/);
    assert.deepEqual(await readdir(join(tuning.path, "jobs", id, "data")), ["train.jsonl"]);
    tuning.trainer.publishFault = null;
    await tuning.jobs.resume("me", id);
    await begins(tuning, 2);
    tuning.trainer.processes[1]?.succeed();
    await reaches(tuning, id, "succeeded");
  });

  test("is paused where memory ran out after its first steps, and fails where it never had enough", async () => {
    await using tuning = await openTuning();
    const [small, large] = [await create(tuning), await create(tuning)];
    await begins(tuning, 1);
    const figures = { step: 1, trainLoss: 3, trainAccuracy: null, validLoss: null, validAccuracy: null };
    tuning.trainer.processes[0]?.report({ type: "opened", steps: 2, trainRows: 1, validRows: 0, warnings: [] });
    tuning.trainer.processes[0]?.report({ type: "step", figures, rate: 1 });
    const fault = { code: "out_of_memory", message: "Memory ran out.", param: null };
    tuning.trainer.processes[0]?.end({ type: "failed", fault });
    await reaches(tuning, small.id, "paused");
    await begins(tuning, 2);
    tuning.trainer.processes[1]?.end({ type: "failed", fault });
    await reaches(tuning, large.id, "failed");
    await tuning.jobs.resume("me", small.id);
    await begins(tuning, 3);
    tuning.trainer.processes[2]?.end({ type: "failed", fault });
    await reaches(tuning, small.id, "paused");
  });

  test("is paused where the disk is full when it ends", async () => {
    await using tuning = await openTuning();
    const { id } = await create(tuning);
    await begins(tuning, 1);
    await reaches(tuning, id, "validating_files");
    const writeFile = (path: string) => (path.endsWith("job.json.draft") ? "ENOSPC" : null);
    await withFaults({ writeFile }, async () => {
      tuning.trainer.processes[0]?.succeed();
      await reaches(tuning, id, "paused");
      await assert.rejects(tuning.jobs.resume("me", id), codeOf("store_full"));
    });
    await tuning.jobs.cancel("me", id);
  });

  test("goes on where its process alone was told to stop", async () => {
    await using tuning = await openTuning();
    const { id } = await create(tuning);
    await begins(tuning, 1);
    tuning.trainer.processes[0]?.end({ type: "stopped" });
    await begins(tuning, 2);
    assert.equal(tuning.trainer.processes[1]?.run.output, tuning.trainer.processes[0]?.run.output);
    assert.equal(tuning.jobs.get("me", id).error, null);
  });

  test("is cancelled while its pause is being written, and stays paused if the server stops then", async () => {
    const tuning = await openTuning({ bounds: { maxTrainingJobs: 2 } });
    const [first, second] = [await create(tuning), await create(tuning)];
    await begins(tuning, 2);
    const pausing = tuning.jobs.pause("me", first.id);
    while (statusOf(tuning, first.id) !== "paused") await setImmediate();
    assert.equal((await tuning.jobs.cancel("me", first.id)).status, "cancelled");
    await pausing;
    assert.equal(statusOf(tuning, first.id), "cancelled");
    const pausingSecond = tuning.jobs.pause("me", second.id);
    await Promise.all([pausingSecond, tuning.close()]);
    assert.equal((await pausingSecond).status, "paused");
    await using next = await openTuning({ folder: tuning.path });
    assert.equal(statusOf(next, second.id), "paused");
  });

  test("keeps what a client asks while the server starts, and does not start in one that stops", async () => {
    const first = await openTuning();
    const jobs = [await create(first), await create(first), await create(first)];
    const [, second = "", third = ""] = jobs.map(({ id }) => id);
    await first.close();
    await using next = await openTuning({ folder: first.path, isIdle: true });
    const starting = next.jobs.start();
    await Promise.all([next.jobs.pause("me", second), next.jobs.cancel("me", third)]);
    await next.jobs[Symbol.asyncDispose]();
    await starting;
    assert.deepEqual([statusOf(next, second), statusOf(next, third)], ["paused", "cancelled"]);
    assert.equal(next.trainer.processes.length, 0);
  });

  test("goes on when the server comes back, even if it was killed, and waits where it waited", async () => {
    const trainer = fakeTrainer();
    const first = await openTuning({ trainer });
    const [running, waiting] = [await create(first), await create(first)];
    await begins(first, 1);
    await reaches(first, running.id, "validating_files");
    // What a killed server leaves: a job that says it runs.
    trainer.processes[0]?.report({ type: "opened", steps: 2, trainRows: 1, validRows: 0, warnings: [] });
    await reaches(first, running.id, "running");
    await first.close();
    assert.equal(statusOf(first, running.id), "queued");
    await using second = await openTuning({ trainer, folder: first.path });
    await begins(second, 2);
    assert.equal(trainer.processes[1]?.run.output, trainer.processes[0]?.run.output);
    assert.equal(statusOf(second, waiting.id), "queued");
    trainer.processes[1]?.succeed();
    await reaches(second, running.id, "succeeded");
    await begins(second, 3);
  });

  test("waits for memory that will come, and fails if it never will", async () => {
    await using tuning = await openTuning();
    const fault = new LorikeetError("out_of_memory", "A fine-tuning job needs more.");
    tuning.trainer.lacking = { fault, isPassing: true };
    const { id } = await create(tuning);
    assert.equal(statusOf(tuning, id), "queued");
    tuning.trainer.lacking = { fault, isPassing: false };
    const next = await create(tuning);
    await reaches(tuning, id, "failed");
    await reaches(tuning, next.id, "failed");
    assert.equal(tuning.jobs.get("me", id).error?.code, "out_of_memory");
    assert.equal(tuning.trainer.processes.length, 0);
  });

  test("keeps its data when its file is deleted", async () => {
    await using tuning = await openTuning();
    await create(tuning);
    const file = await addFile(tuning);
    await create(tuning, { trainingFile: file.id, validationFile: file.id });
    await tuning.files.remove("me", file.id);
    await begins(tuning, 1);
    tuning.trainer.processes[0]?.succeed();
    await begins(tuning, 2);
    assert.deepEqual((await readdir(tuning.trainer.processes[1]?.run.data ?? "")).sort(), [
      "train.jsonl",
      "valid.jsonl",
    ]);
  });
});

describe("jobs", () => {
  test("belong to their owner, and refuse files of others, other purposes and empty ones", async () => {
    await using tuning = await openTuning();
    const { id } = await create(tuning);
    for (const call of ["cancel", "pause", "resume"] as const) {
      await assert.rejects(tuning.jobs[call]("you", id), codeOf("job_not_found"));
    }
    assert.throws(() => tuning.jobs.get("you", id), codeOf("job_not_found"));
    assert.deepEqual(tuning.jobs.list("you"), []);
    const mine = await addFile(tuning);
    await assert.rejects(create(tuning, { trainingFile: mine.id }, "you"), codeOf("file_not_found"));
    const other = await addFile(tuning, { purpose: "user_data" });
    await assert.rejects(create(tuning, { trainingFile: other.id }), codeOf("invalid_value"));
    const empty = await addFile(tuning, { lines: 0 });
    await assert.rejects(create(tuning, { trainingFile: empty.id }), codeOf("invalid_value"));
    await assert.rejects(create(tuning, { model: "other" }), codeOf("model_not_found"));
  });

  test("take turns by owner, a bounded number at once, and a bounded number waits", async () => {
    await using tuning = await openTuning({ bounds: { maxTrainingJobs: 2, maxTrainingQueue: 2 } });
    const mine = [await create(tuning), await create(tuning), await create(tuning)];
    const yours = await create(tuning, {}, "you");
    await assert.rejects(create(tuning), codeOf("training_queue_full"));
    await begins(tuning, 2);
    tuning.trainer.processes[0]?.succeed();
    await begins(tuning, 3);
    assert.equal(statusOf(tuning, mine[2]?.id ?? ""), "queued");
    assert.equal(tuning.jobs.get("you", yours.id).status, "validating_files");
    assert.deepEqual(tuning.jobs.stats().byStatus.queued, 1);
  });

  test("that are paused count against those that may wait, and those that are being created too", async () => {
    await using tuning = await openTuning({ bounds: { maxTrainingQueue: 1 } });
    const { id } = await create(tuning);
    await begins(tuning, 1);
    await tuning.jobs.pause("me", id);
    await assert.rejects(create(tuning), codeOf("training_queue_full"));
    await tuning.jobs.resume("me", id);
    for (const bounds of [{ maxTrainingQueue: 2 }, { maxJobs: 2 }]) {
      await using many = await openTuning({ bounds });
      const { id: trainingFile } = await addFile(many);
      const tried = await Promise.allSettled(Array.from({ length: 5 }, () => create(many, { trainingFile })));
      assert.equal(tried.filter(({ status }) => status === "fulfilled").length, 2);
      for (const each of tried) assert.ok(each.status === "fulfilled" || codeOf("training_queue_full")(each.reason));
    }
  });

  test("are stopped while the server is busy, also where memory is left for one of them only", async () => {
    await using tuning = await openTuning({ bounds: { maxTrainingJobs: 2 }, load: () => 1 });
    const lacking = { fault: new LorikeetError("out_of_memory", "A fine-tuning job needs more."), isPassing: true };
    tuning.trainer.lacking = lacking;
    await create(tuning);
    let asked = 0;
    tuning.trainer.memoryFault = () => (asked++ === 0 ? null : lacking);
    await create(tuning);
    await begins(tuning, 1);
    await until(() => tuning.trainer.processes[0]?.signals.includes("suspend") === true, "the signal");
  });

  test("are dropped past a bound, the oldest ended first, and after a time", async () => {
    let now = 1_000;
    await using tuning = await openTuning({ bounds: { maxJobs: 2, jobTtlMs: 500 }, now: () => now });
    const first = await create(tuning);
    await tuning.jobs.cancel("me", first.id);
    const second = await create(tuning);
    const third = await create(tuning);
    assert.throws(() => tuning.jobs.get("me", first.id), codeOf("job_not_found"));
    await assert.rejects(create(tuning), codeOf("training_queue_full"));
    await tuning.jobs.cancel("me", second.id);
    now += 501;
    await tuning.jobs.sweep();
    assert.deepEqual(
      tuning.jobs.list("me").map(({ id }) => id),
      [third.id],
    );
  });

  test("choose what is left open by the number of rows", async () => {
    await using tuning = await openTuning();
    const chosen = await Promise.all(
      [10, 100, 10_000].map(async (lines) => {
        const { id: trainingFile } = await addFile(tuning, { lines });
        const { epochs, batchSize } = (await create(tuning, { trainingFile })).hyperparameters;
        return [lines, epochs, batchSize];
      }),
    );
    assert.deepEqual(chosen, [
      [10, 10, 1],
      [100, 4, 4],
      [10_000, 3, 16],
    ]);
    const asked = { epochs: 2, batchSize: 3, learningRateMultiplier: 0.5, beta: null };
    const { hyperparameters } = await create(tuning, { method: "dpo", hyperparameters: asked });
    assert.deepEqual(hyperparameters, { ...asked, beta: 0.1 });
  });

  test("stop while the server is busy, and go on after a quiet moment", () => {
    let [now, load] = [0, 0];
    const signals: string[] = [];
    const pausing = new Pausing(
      {
        load: () => load,
        pauseAt: 2,
        suspend: () => void signals.push("suspend"),
        proceed: () => void signals.push("proceed"),
      },
      () => now,
    );
    const at = (time: number, running: number): void => {
      [now, load] = [time, running];
      pausing.tick();
    };
    at(0, 1);
    at(100, 2);
    at(200, 3);
    at(300, 1);
    at(700, 2);
    at(800, 0);
    assert.deepEqual(signals, ["suspend"]);
    at(1300, 0);
    assert.deepEqual(signals, ["suspend", "proceed"]);
    assert.equal(pausing.seconds, 1.2);
  });
});

describe("files", () => {
  const open = (files: TuningOptions["files"], folder?: string) =>
    openTuning({ ...(files ? { files } : {}), ...(folder === undefined ? {} : { folder }) });

  test("survive a restart, and drafts do not", async () => {
    const first = await open({});
    const { id } = await addFile(first);
    await first.files.draft();
    await assert.rejects(open({}, first.path), codeOf("conflict"));
    await first.close();
    await using second = await open({}, first.path);
    assert.equal(second.files.get("me", id).lines, 30);
    assert.deepEqual(await readdir(join(first.path, "files", "drafts")), []);
  });

  test("are bounded in number and bytes, belong to their owner, and expire", async () => {
    await using few = await open({ maxFiles: 1 });
    const { id } = await addFile(few);
    await assert.rejects(addFile(few), codeOf("store_full"));
    assert.throws(() => few.files.get("you", id), codeOf("file_not_found"));
    await assert.rejects(few.files.remove("you", id), codeOf("file_not_found"));
    await few.files.remove("me", id);
    await addFile(few);
    await using small = await open({ maxTotalFileBytes: rows.length });
    await assert.rejects(small.files.draft(rows.length + 1), codeOf("store_full"));
    await addFile(small);
    await assert.rejects(addFile(small), codeOf("store_full"));
    assert.deepEqual(await readdir(join(small.path, "files", "drafts")), []);
    await using brief = await open({ fileTtlMs: 1 });
    const gone = await addFile(brief);
    await until(() => Date.now() > gone.expiresAt, "the time");
    assert.throws(() => brief.files.get("me", gone.id), codeOf("file_not_found"));
    await brief.files.sweep();
    assert.deepEqual(brief.files.stats(), { files: 0, bytes: 0, dropped: 1 });
  });
});

test("the two names of a fine-tuned model follow from each other", () => {
  const id = "0123456789ab";
  for (const suffix of [null, "a", "with-dash_9"]) {
    for (const step of [null, 12]) {
      for (const base of ["base", "org/model", "a:b"]) {
        const alias = aliasOf({ base, suffix, id, step });
        assert.equal(resolveAlias(alias, ["x", base]), adapterNameOf({ suffix, id, step }));
        assert.equal(resolveAlias(alias, ["other"]), null);
      }
    }
  }
  assert.equal(resolveAlias("ft:base:acme:x:0123456789ab", ["base"]), "ft-x-0123456789ab");
  for (const name of ["base", "ft:base", "ft:base:::0", "ft:base:o:a b:0123456789ab", "ft-x-0123456789ab"]) {
    assert.equal(resolveAlias(name, ["base"]), null);
  }
});

test("a job's card shows rows where everybody sees them, or where their owner does", async () => {
  for (const sharesRows of [false, true]) {
    await using tuning = await openTuning({ sharesRows });
    const asked = [null, { card_rows: "show" }, { card_rows: "hide" }];
    for (const [i, metadata] of asked.entries()) {
      await create(tuning, { metadata });
      await until(() => tuning.trainer.processes.length === i + 1, "a process");
      tuning.trainer.processes[i]?.succeed();
    }
    const shown = tuning.trainer.processes.map(({ run }) => run.origin.showsRows);
    assert.deepEqual(shown, [sharesRows, true, false]);
    assert.deepEqual(tuning.trainer.processes[0]?.run.origin.files, [{ split: "train", name: "a.jsonl", rows: 30 }]);
  }
});

test("a task job that goes on in another process still shows what was answered before its training", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-answers-"));
  const path = join(folder, "first.json");
  const shown: unknown[] = [];
  const open = () => sampleEvents({ totalSteps: 10, validateEvery: 2 }, path, (report) => shown.push(report));
  const answered = (step: number, answer: string) => ({
    ...{ step, loss: 1, metrics: {}, isBest: false },
    samples: [{ prompt: "a film", expected: "good", answer }],
  });
  (await open()).validated?.(answered(0, "bad"));
  const later = await open();
  for (const step of [2, 4, 10]) later.validated?.(answered(step, "good"));
  const samples = [{ prompt: "a film", before: "bad", after: "good" }];
  assert.deepEqual(
    shown,
    [4, 10].map((step) => ({ type: "samples", step, samples })),
  );
  await rm(folder, { recursive: true });
});
