/** What the adapter of a job is called in the store. */
import type { Job } from "../client/fine-tuning.js";

/** `id`: the job's, without its prefix. */
export const adapterNameOf = (suffix: string, id: string): string => `ft-${suffix === "" ? "" : `${suffix}-`}${id}`;

/** Names of its checkpoints begin with it. */
export const adapterOf = ({ id, user_provided_suffix: suffix }: Job): string =>
  adapterNameOf(suffix ?? "", id.replace(/^ftjob-/, ""));
