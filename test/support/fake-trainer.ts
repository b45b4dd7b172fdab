/** A base whose jobs train nothing: a test says what each process reports and how it ends. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deferred } from "../../src/base/async.js";
import type { JobBounds } from "../../src/jobs/bounds.js";
import type { FileBounds } from "../../src/jobs/file-store.js";
import { openFineTuningFolder } from "../../src/jobs/folder.js";
import { Jobs } from "../../src/jobs/jobs.js";
import type { TrainableBase, TrainingEnd, TrainingProduct, TrainingReport, TrainingRun } from "../../src/jobs/types.js";

export interface FakeProcess {
  readonly run: TrainingRun;
  readonly signals: string[];
  report(report: TrainingReport): void;
  end(end: TrainingEnd): void;
  /** Reports a short run and ends with its product. */
  succeed(product?: Partial<TrainingProduct>): void;
}

export interface FakeTrainer extends TrainableBase {
  readonly processes: FakeProcess[];
  readonly published: (readonly [name: string, folder: string])[];
  /** What the next publications throw. */
  publishFault: Error | null;
  lacking: ReturnType<TrainableBase["memoryFault"]>;
}

const product: TrainingProduct = {
  kept: { step: 2, steps: 2, reason: "last", best: 2 },
  tokens: 40,
  heldOut: { rows: 3, before: 4, after: 2 },
  checkpoints: [],
};

export function fakeTrainer(names: TrainableBase["names"] = ["base"]): FakeTrainer {
  const processes: FakeProcess[] = [];
  const trainer: FakeTrainer = {
    names,
    tasks: ["text-generation"],
    methods: ["supervised", "dpo"],
    processes,
    published: [],
    publishFault: null,
    lacking: null,
    start: (run, onReport) => {
      const ended = deferred<TrainingEnd>();
      const signals: string[] = [];
      const figures = { trainLoss: null, trainAccuracy: null, validLoss: null, validAccuracy: null };
      const process: FakeProcess = {
        run,
        signals,
        report: onReport,
        end: ended.resolve,
        succeed: (more) => {
          onReport({ type: "opened", steps: 2, trainRows: 27, validRows: 3, warnings: [] });
          onReport({ type: "started", step: 0 });
          onReport({ type: "validation", figures: { ...figures, step: 0, validLoss: 4 } });
          onReport({ type: "step", figures: { ...figures, step: 1, trainLoss: 3.5 }, rate: 0.1 });
          onReport({ type: "step", figures: { ...figures, step: 2, trainLoss: 2.5 }, rate: 0.1 });
          onReport({ type: "validation", figures: { ...figures, step: 2, validLoss: 2, validAccuracy: 0.5 } });
          ended.resolve({ type: "done", product: { ...product, ...more } });
        },
      };
      processes.push(process);
      return {
        ended: ended.promise,
        stop: () => {
          signals.push("stop");
          ended.resolve({ type: "stopped" });
        },
        kill: () => {
          signals.push("kill");
          ended.resolve({ type: "stopped" });
        },
        suspend: () => void signals.push("suspend"),
        proceed: () => void signals.push("proceed"),
      };
    },
    publish: async (name, folder) => {
      if (trainer.publishFault) throw trainer.publishFault;
      trainer.published.push([name, folder]);
    },
    memoryFault: () => trainer.lacking,
  };
  return trainer;
}

export interface TuningOptions {
  readonly trainer?: FakeTrainer;
  readonly bounds?: Partial<JobBounds>;
  readonly files?: Partial<FileBounds>;
  readonly load?: () => number;
  readonly now?: () => number;
  readonly sharesRows?: boolean;
  /** Whether jobs are left to the test to start. */
  readonly isIdle?: boolean;
  /** Of an earlier one that was closed. */
  readonly folder?: string;
}

/** Files and jobs in a folder, which `remove` deletes; closing alone leaves it for the next. */
export async function openTuning(options: TuningOptions = {}) {
  const path = options.folder ?? (await mkdtemp(join(tmpdir(), "lorikeet-tuning-")));
  const folder = await openFineTuningFolder(path, options.files);
  const trainer = options.trainer ?? fakeTrainer();
  const { load = () => 0, now, sharesRows = false } = options;
  const parts = { ...folder, bases: [trainer], bounds: options.bounds ?? {}, load, sharesRows };
  const jobs = new Jobs({ ...parts, ...(now ? { now } : {}) });
  if (!options.isIdle) await jobs.start();
  const close = async (): Promise<void> => {
    await jobs[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  };
  return {
    path,
    files: folder.files,
    jobs,
    trainer,
    close,
    [Symbol.asyncDispose]: async () => {
      await close();
      await rm(path, { recursive: true, force: true });
    },
  };
}

export type Tuning = Awaited<ReturnType<typeof openTuning>>;
