/** Options of `serve` about fine-tuning: files of clients, and jobs. */

import { jobDefaults } from "../../jobs/bounds.js";
import { fileDefaults } from "../../jobs/file-store.js";
import { age, count, given, type OptionTable, open, size } from "../options/option.js";
import { integer, text } from "../options/units.js";

export const fineTuningOptions = {
  fineTuning: open("Fine-tuning", "off", {
    placeholder: "folder",
    parse: text,
    help: "folder for uploaded files and fine-tuning jobs; turns on /v1/files and /v1/fine_tuning/jobs, and needs --adapters",
  }),
  maxFileBytes: size("Fine-tuning", 512 * 2 ** 20, "size of an uploaded file"),
  maxFiles: count("Fine-tuning", fileDefaults.maxFiles, 1, "stored files; beyond it, uploads get 507"),
  maxTotalFileBytes: size(
    "Fine-tuning",
    fileDefaults.maxTotalFileBytes,
    "total size of stored files; beyond it, uploads get 507",
  ),
  fileTtl: age("Fine-tuning", fileDefaults.fileTtlMs, "how long a file is stored"),
  maxTrainingJobs: count("Fine-tuning", jobDefaults.maxTrainingJobs, 1, "jobs that train at once"),
  maxTrainingQueue: count(
    "Fine-tuning",
    jobDefaults.maxTrainingQueue,
    1,
    "jobs that may wait or be paused; further ones get 429",
  ),
  maxJobs: count(
    "Fine-tuning",
    jobDefaults.maxJobs,
    1,
    "jobs that are kept; beyond it, the oldest that have ended are dropped",
  ),
  jobTtl: age("Fine-tuning", jobDefaults.jobTtlMs, "how long a job is kept after its end"),
  trainingThreads: open("Fine-tuning", "half of --threads", {
    placeholder: "n",
    parse: integer(1),
    help: "threads of a job",
  }),
  trainingNice: given("Fine-tuning", 19, {
    placeholder: "n",
    parse: integer(0, 19),
    help: "nice value of a job's process: 19 leaves it what the server does not need, 0 a fair share",
  }),
  maxTrainingTime: age(
    "Fine-tuning",
    24 * 3_600_000,
    "how long a job may train; then it ends with what it has learned",
  ),
  pauseTrainingAt: count(
    "Fine-tuning",
    jobDefaults.pauseTrainingAt,
    0,
    "sequences that run or wait in the server at which jobs stop until it is quiet; 0 means never",
  ),
} as const satisfies OptionTable;
