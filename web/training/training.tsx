/** The jobs of the fine-tuning API: their state, their losses, and new ones by drop. Two at once share a chart. */
import { useEffect, useState } from "preact/hooks";
import { compareHref } from "../adapters/compare-link.js";
import type { Job } from "../client/fine-tuning.js";
import { loadModels } from "../compare/models.js";
import { formatAgo, formatCount } from "../parts/format.js";
import { Icon } from "../parts/icon.js";
import { client, noteFailure } from "../session.js";
import { Curves, nameOf } from "./curves.js";
import { events, isEnded, jobs, jobsFault, refreshJobs, watchJobs } from "./jobs.js";
import { StartDialog } from "./start-dialog.js";

const mostShown = 2;

export function Training() {
  const [chosen, setChosen] = useState<readonly string[] | null>(null);
  const [starting, setStarting] = useState<{ readonly file: File | null } | null>(null);
  const listed = jobs.value ?? [];
  const shown = chosen ?? listed.slice(0, 1).map(({ id }) => id);
  useEffect(() => watchJobs(shown), [shown.join()]);
  useEffect(() => void loadModels(), [listed.filter(({ status }) => status === "succeeded").length]);
  const toggle = (id: string): void =>
    setChosen(shown.includes(id) ? shown.filter((each) => each !== id) : [id, ...shown].slice(0, mostShown));
  const runs = shown.flatMap((id) => {
    const job = listed.find((each) => each.id === id);
    return job ? [{ job, events: events.value.get(id) ?? [] }] : [];
  });
  return (
    <section
      class="adapters"
      aria-label="Training"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        const [file] = event.dataTransfer?.files ?? [];
        if (file) setStarting({ file });
      }}
    >
      <div class="toolbar">
        <h1>Training</h1>
        <span class="grow" />
        <button type="button" class="primary" onClick={() => setStarting({ file: null })}>
          <Icon name="plus" />
          Start a job
        </button>
      </div>
      {jobsFault.value === null ? null : (
        <p class="fault" role="alert">
          {jobsFault.value}
        </p>
      )}
      {jobs.value !== null && listed.length === 0 ? (
        <p class="empty">No jobs yet. Drop a file of chats, as JSON lines, to train an adapter on it.</p>
      ) : null}
      {runs.length > 0 ? (
        <div class="card run">
          <Curves runs={runs} />
        </div>
      ) : null}
      <ul class="jobs">
        {listed.map((job) => (
          <JobCard
            key={job.id}
            job={job}
            isShown={shown.includes(job.id)}
            onToggle={() => toggle(job.id)}
            onChanged={() => refreshJobs(shown)}
          />
        ))}
      </ul>
      {starting ? (
        <StartDialog
          file={starting.file}
          onClose={() => setStarting(null)}
          onStarted={({ id }) => {
            setStarting(null);
            setChosen([id]);
          }}
        />
      ) : null}
    </section>
  );
}

const words: Readonly<Record<Job["status"], string>> = {
  validating_files: "checking its rows",
  queued: "waiting",
  running: "running",
  paused: "paused",
  succeeded: "published",
  failed: "failed",
  cancelled: "cancelled",
};

const canPause: ReadonlySet<Job["status"]> = new Set(["validating_files", "queued", "running"]);

interface JobCardProps {
  readonly job: Job;
  readonly isShown: boolean;
  readonly onToggle: () => void;
  readonly onChanged: () => Promise<void>;
}

function JobCard({ job, isShown, onToggle, onChanged }: JobCardProps) {
  const [fault, setFault] = useState<string | null>(null);
  const act = async (action: "pause" | "resume" | "cancel"): Promise<void> => {
    try {
      await client.fineTuning.act(job.id, action);
      setFault(null);
      await onChanged();
    } catch (error) {
      setFault(noteFailure(error));
    }
  };
  const { id, status, model, fine_tuned_model: product, error } = job;
  return (
    <li class="card job">
      <div class="grow">
        <h2>
          {nameOf(job)} <span class={`tag ${status}`}>{words[status]}</span>
        </h2>
        <p class="muted">{[model, id, formatAgo(job.created_at), ...remaining(job), ...messageOf(job)].join(" · ")}</p>
        {error || fault !== null ? (
          <p class="fault" role="alert">
            {fault ?? error?.message}
          </p>
        ) : null}
      </div>
      <div class="actions">
        <label class="check">
          <input type="checkbox" checked={isShown} onChange={onToggle} />
          On the chart
        </label>
        {canPause.has(status) ? (
          <button type="button" onClick={() => act("pause")}>
            Pause
          </button>
        ) : null}
        {status === "paused" ? (
          <button type="button" onClick={() => act("resume")}>
            Resume
          </button>
        ) : null}
        {isEnded(job) ? null : (
          <button type="button" class="danger" onClick={() => act("cancel")}>
            Cancel
          </button>
        )}
        {product === null ? null : (
          <a class="button primary" href={compareHref(product, model)}>
            Compare
          </a>
        )}
      </div>
    </li>
  );
}

function remaining({ status, estimated_finish: finish }: Job): string[] {
  if (status !== "running" || finish === null) return [];
  const seconds = Math.max(0, Math.round(finish - Date.now() / 1000));
  return [seconds < 90 ? `${seconds} s left` : `${Math.round(seconds / 60)} min left`];
}

/** How far it is, or what it came to. */
function messageOf({ id, trained_tokens: tokens }: Job): string[] {
  const last = events.value.get(id)?.findLast(({ data }) => data.step !== undefined)?.data;
  if (tokens !== null) return [`${formatCount(tokens)} tokens`];
  return last?.step === undefined ? [] : [`step ${last.step} of ${last.total_steps ?? "?"}`];
}
