/** Bounds of fine-tuning jobs, and their defaults. */

export interface JobBounds {
  /** Jobs that train at once. */
  readonly maxTrainingJobs: number;
  /** Jobs that may wait. */
  readonly maxTrainingQueue: number;
  /** Jobs that are kept, ended ones too. */
  readonly maxJobs: number;
  /** How long an ended job is kept. */
  readonly jobTtlMs: number;
  /** How long a process may take to save and end. */
  readonly stopMs: number;
  readonly pauseTrainingAt: number;
}

export const jobDefaults: JobBounds = {
  maxTrainingJobs: 1,
  maxTrainingQueue: 16,
  maxJobs: 1_000,
  jobTtlMs: 90 * 24 * 3_600_000,
  stopMs: 20_000,
  pauseTrainingAt: 1,
};
