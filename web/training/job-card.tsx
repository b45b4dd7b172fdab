/** One job: its state, how far it is, and what can be done with it. */
import { useEffect, useRef, useState } from "preact/hooks";
import { compareHref, type TryLink } from "../adapters/compare-link.js";
import { exampleLinkOf } from "../adapters/try-link.js";
import type { Job } from "../client/fine-tuning.js";
import { Confirmation } from "../parts/confirmation.js";
import { Fault } from "../parts/fault.js";
import { formatAgo, formatCount, formatDuration, formatNumber } from "../parts/format.js";
import { keptWords } from "../parts/kept.js";
import { hrefOf } from "../route.js";
import { client, noteFailure } from "../session.js";
import { adapterOf } from "./adapter-name.js";
import { nameOf } from "./curves.js";
import { events, hasCurves, isEnded } from "./jobs.js";

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

export interface JobCardProps {
  readonly job: Job;
  /** Of its curves; null: they are not shown. */
  readonly colour: string | null;
  readonly onToggle: () => void;
  readonly onChanged: () => Promise<void>;
  /** Gets a new job on the same rows. */
  readonly onStarted: (job: Job) => void;
}

export function JobCard({ job, colour, onToggle, onChanged, onStarted }: JobCardProps) {
  const [fault, setFault] = useState<string | null>(null);
  const [isCancelling, setCancelling] = useState(false);
  const cancelButton = useRef<HTMLButtonElement>(null);
  const run = async (action: () => Promise<unknown>): Promise<void> => {
    try {
      await action();
      setFault(null);
      await onChanged();
    } catch (error) {
      setFault(noteFailure(error));
    }
  };
  const act = (action: "pause" | "resume" | "cancel"): Promise<void> =>
    run(() => client.fineTuning.act(job.id, action));
  const keep = (): void => {
    setCancelling(false);
    requestAnimationFrame(() => cancelButton.current?.focus());
  };
  const { id, status, model, fine_tuned_model: product, error } = job;
  const isPaused = status === "paused";
  return (
    <li class="card job">
      <div class="grow">
        <h2>
          {nameOf(job)} <span class={`tag ${status}`}>{words[status]}</span>
        </h2>
        <p class="muted">{[model, id, formatAgo(job.created_at), ...remaining(job), ...progressOf(job)].join(" · ")}</p>
        <Fault text={fault ?? error?.message ?? null} />
      </div>
      {isCancelling && !isEnded(job) ? (
        <Confirmation
          label={`Cancel ${nameOf(job)}`}
          keep="Keep it"
          confirm="Cancel the job"
          onKeep={keep}
          onConfirm={() => act("cancel")}
        >
          Cancel <b>{nameOf(job)}</b>? A cancelled job cannot be resumed.
        </Confirmation>
      ) : (
        <div class="actions">
          {hasCurves(job) ? (
            <label class={`check ${colour ?? ""}`}>
              <input type="checkbox" checked={colour !== null} onChange={onToggle} />
              On the chart
            </label>
          ) : null}
          {isPaused || canPause.has(status) ? (
            <button type="button" onClick={() => act(isPaused ? "resume" : "pause")}>
              {isPaused ? "Resume" : "Pause"}
            </button>
          ) : null}
          {isEnded(job) ? (
            <button type="button" onClick={() => run(async () => onStarted(await client.fineTuning.startAgain(job)))}>
              Start again
            </button>
          ) : (
            <button type="button" class="danger" ref={cancelButton} onClick={() => setCancelling(true)}>
              Cancel
            </button>
          )}
          {product === null ? null : (
            <>
              <a class="button" href={hrefOf("adapters", new URLSearchParams({ name: adapterOf(job) }))}>
                Its card
              </a>
              <ProductLink job={job} />
            </>
          )}
        </div>
      )}
    </li>
  );
}

/** On an example of the job's own rows if its card has one: beside the base, or in the form of its task. */
function ProductLink({ job }: { readonly job: Job }) {
  const [link, setLink] = useState<TryLink | null>(null);
  const name = adapterOf(job);
  useEffect(() => {
    let isWanted = true;
    const read = async (): Promise<void> => {
      const [adapter, card] = await Promise.all([client.adapter(name), client.card(name)]);
      if (isWanted) setLink(exampleLinkOf(adapter, card));
    };
    read().catch(() => {}); // it may be gone: the comparison says so
    return () => {
      isWanted = false;
    };
  }, [name]);
  return (
    <a class="button primary" href={link?.href ?? compareHref(name, job.model)}>
      {link?.isComparison === false ? "Try it" : "Compare"}
    </a>
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
