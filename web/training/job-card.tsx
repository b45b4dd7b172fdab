/** One job: its state, how far it is, and what can be done with it. */
import { useState } from "preact/hooks";
import type { Job } from "../client/fine-tuning.js";
import { Fault } from "../parts/fault.js";
import { formatAgo, formatCount, formatDuration, formatNumber } from "../parts/format.js";
import { keptWords } from "../parts/kept.js";
import { nameOf } from "./curves.js";
import { JobActions, type JobActionsProps } from "./job-actions.js";
import { events } from "./jobs.js";

const words: Readonly<Record<Job["status"], string>> = {
  validating_files: "checking its rows",
  queued: "waiting",
  running: "running",
  paused: "paused",
  succeeded: "published",
  failed: "failed",
  cancelled: "cancelled",
};

export type JobCardProps = Omit<JobActionsProps, "onFault">;

export function JobCard({ job, ...handlers }: JobCardProps) {
  const [fault, setFault] = useState<string | null>(null);
  const { id, status, model, error } = job;
  return (
    <li class="card job">
      <div class="grow">
        <h2>
          {nameOf(job)} <span class={`tag ${status}`}>{words[status]}</span>
        </h2>
        <p class="muted">{[model, id, formatAgo(job.created_at), ...remaining(job), ...progressOf(job)].join(" · ")}</p>
        <Fault text={fault ?? error?.message ?? null} />
      </div>
      <JobActions job={job} {...handlers} onFault={setFault} />
    </li>
  );
}

function remaining({ status, estimated_finish: finish }: Job): string[] {
  if (status !== "running" || finish === null) return [];
  return [`${formatDuration(Math.max(0, finish - Date.now() / 1000))} left`];
}

/** How far it is, or what it came to. */
function progressOf({ id, trained_tokens: tokens, lorikeet }: Job): string[] {
  const kept = lorikeet?.kept;
  const known = events.value.get(id) ?? [];
  const figures = known.findLast(({ data }) => typeof data.step === "number" && typeof data.total_steps === "number");
  const heldOut = known.findLast(({ data }) => typeof data.full_valid_loss === "number")?.data;
  if (tokens === null)
    return figures
      ? [`step ${formatCount(Number(figures.data.step))} of ${formatCount(Number(figures.data.total_steps))}`]
      : [];
  const loss = (name: string): string => formatNumber(Number(heldOut?.[name]));
  return [
    ...(kept ? [`kept ${keptWords({ step: kept.step, steps: kept.total_steps, best: kept.best_step })}`] : []),
    `${formatCount(tokens)} tokens`,
    ...(heldOut ? [`validation loss ${loss("base_valid_loss")} before, ${loss("full_valid_loss")} after`] : []),
  ];
}
