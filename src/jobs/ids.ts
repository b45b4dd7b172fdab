/** Ids of files, jobs, events and checkpoints. */
import { randomBytes } from "node:crypto";

const fresh = (bytes: number): string => randomBytes(bytes).toString("hex");

export const newFileId = (): string => `file-${fresh(12)}`;
export const newJobId = (): string => `ftjob-${fresh(6)}`;
export const newEventId = (): string => `ftevent-${fresh(12)}`;
export const newCheckpointId = (): string => `ftckpt-${fresh(12)}`;

/** Whether an id may name a folder. */
export const isId = (id: string): boolean => /^(file|ftjob)-[0-9a-f]{12,32}$/.test(id);

/** The part of a job's id that the names of its adapters end with. */
export const shortId = (jobId: string): string => jobId.slice(jobId.indexOf("-") + 1);
