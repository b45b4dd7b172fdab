/** Files, jobs, events and checkpoints as OpenAI shows them. Times are seconds since 1970. */
import { shortId } from "../../jobs/ids.js";
import { aliasOf, organization } from "../../jobs/names.js";
import type { Hyperparameters, JobCheckpoint, JobEvent, JobRecord, StoredFile } from "../../jobs/types.js";

const seconds = (ms: number): number => Math.floor(ms / 1000);
const secondsOrNull = (ms: number | null): number | null => (ms === null ? null : seconds(ms));

export function fileObject({ id, bytes, createdAt, expiresAt, filename, purpose }: StoredFile) {
  return {
    id,
    object: "file" as const,
    bytes,
    created_at: seconds(createdAt),
    expires_at: seconds(expiresAt),
    filename,
    purpose,
    status: "processed" as const,
  };
}

function hyperparametersOf({ epochs, batchSize, learningRateMultiplier, beta }: Hyperparameters) {
  return {
    n_epochs: epochs,
    batch_size: batchSize,
    learning_rate_multiplier: learningRateMultiplier,
    ...(beta === null ? {} : { beta }),
  };
}

/** `baseName` is the base's name in `ft:` names; `usualTask` what its jobs train unless they say otherwise. */
export function jobObject(job: JobRecord, baseName: string, usualTask: string | null) {
  const { beta: _, ...shared } = hyperparametersOf(job.hyperparameters);
  const named = { base: baseName, suffix: job.suffix, id: shortId(job.id), step: null };
  return {
    id: job.id,
    object: "fine_tuning.job" as const,
    created_at: seconds(job.createdAt),
    error: job.error,
    estimated_finish: secondsOrNull(job.estimatedFinish),
    fine_tuned_model: job.adapter === null ? null : aliasOf(named),
    finished_at: secondsOrNull(job.finishedAt),
    hyperparameters: shared,
    integrations: [],
    lorikeet: { task: job.task ?? usualTask, kept: keptOf(job) },
    metadata: job.metadata,
    method: { type: job.method, [job.method]: { hyperparameters: hyperparametersOf(job.hyperparameters) } },
    model: job.model,
    organization_id: organization,
    result_files: job.resultFiles,
    seed: job.seed,
    status: job.status,
    trained_tokens: job.trainedTokens,
    training_file: job.trainingFile,
    user_provided_suffix: job.suffix,
    validation_file: job.validationFile,
  };
}

/** Which step's weights the adapter has, and why; null until there are some. */
function keptOf({ kept }: JobRecord) {
  return kept ? { step: kept.step, total_steps: kept.steps, reason: kept.reason, best_step: kept.best } : null;
}

export function eventObject({ id, createdAt, level, message, data, samples, sampledStep }: JobEvent) {
  const shown = samples === undefined ? {} : { ...(sampledStep !== undefined && { step: sampledStep }), samples };
  return {
    id,
    object: "fine_tuning.job.event" as const,
    created_at: seconds(createdAt),
    level,
    message,
    type: data === null ? ("message" as const) : ("metrics" as const),
    data: data ?? shown,
  };
}

export function checkpointObject(checkpoint: JobCheckpoint, job: JobRecord, baseName: string) {
  const { id, createdAt, adapter, figures } = checkpoint;
  const step = adapter === job.adapter ? null : figures.step;
  const named = { base: baseName, suffix: job.suffix, id: shortId(job.id), step };
  const measured = {
    train_loss: figures.trainLoss,
    train_mean_token_accuracy: figures.trainAccuracy,
    valid_loss: figures.validLoss,
    valid_mean_token_accuracy: figures.validAccuracy,
    full_valid_loss: figures.validLoss,
    full_valid_mean_token_accuracy: figures.validAccuracy,
  };
  const known = Object.entries(measured).filter(([, value]) => value !== null);
  return {
    id,
    object: "fine_tuning.job.checkpoint" as const,
    created_at: seconds(createdAt),
    fine_tuned_model_checkpoint: aliasOf(named),
    fine_tuning_job_id: job.id,
    metrics: { step: figures.step, ...Object.fromEntries(known) },
    step_number: figures.step,
  };
}
