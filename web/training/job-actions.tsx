/** What can be done with a job, one thing at a time. */
import { useEffect, useRef, useState } from "preact/hooks";
import { compareHref, type TryLink } from "../adapters/compare-link.js";
import { exampleLinkOf } from "../adapters/try-link.js";
import type { Job } from "../client/fine-tuning.js";
import { CheckField } from "../parts/check-field.js";
import { Confirmation } from "../parts/confirmation.js";
import { hrefOf } from "../route.js";
import { client } from "../session.js";
import { useAction } from "../use-action.js";
import { adapterOf } from "./adapter-name.js";
import { nameOf } from "./curves.js";
import { hasCurves, isEnded } from "./jobs.js";

const canPause: ReadonlySet<Job["status"]> = new Set(["validating_files", "queued", "running"]);

export interface JobActionsProps {
  readonly job: Job;
  /** Of its curves; null: they are not shown. */
  readonly colour: string | null;
  readonly onToggle: () => void;
  readonly onChanged: () => Promise<void>;
  /** Gets a new job on the same rows. */
  readonly onStarted: (job: Job) => void;
  readonly onFault: (fault: string | null) => void;
}

export function JobActions({ job, colour, onToggle, onChanged, onStarted, onFault }: JobActionsProps) {
  const [isCancelling, setCancelling] = useState(false);
  const cancelButton = useRef<HTMLButtonElement>(null);
  const run = useAction(onFault);
  const act = (action: "pause" | "resume" | "cancel"): Promise<void> =>
    run(action, async () => {
      await client.fineTuning.act(job.id, action);
      await onChanged();
    });
  const startAgain = (): Promise<void> =>
    run("start again", async () => {
      onStarted(await client.fineTuning.startAgain(job));
      await onChanged();
    });
  const keep = (): void => {
    setCancelling(false);
    requestAnimationFrame(() => cancelButton.current?.focus());
  };
  if (isCancelling && !isEnded(job)) {
    return (
      <Confirmation
        label={`Cancel ${nameOf(job)}`}
        keep="Keep it"
        confirm="Cancel the job"
        onKeep={keep}
        onConfirm={() => act("cancel")}
      >
        Cancel <b>{nameOf(job)}</b>? A cancelled job cannot be resumed.
      </Confirmation>
    );
  }
  const isPaused = job.status === "paused";
  return (
    <div class="actions">
      {hasCurves(job) ? (
        <CheckField
          label="On the chart"
          of={nameOf(job)}
          kind={colour ?? ""}
          isChecked={colour !== null}
          onChange={onToggle}
        />
      ) : null}
      {isPaused || canPause.has(job.status) ? (
        <button type="button" onClick={() => act(isPaused ? "resume" : "pause")}>
          {isPaused ? "Resume" : "Pause"}
        </button>
      ) : null}
      {isEnded(job) ? (
        <button type="button" onClick={startAgain}>
          Start again
        </button>
      ) : (
        <button type="button" class="danger" ref={cancelButton} onClick={() => setCancelling(true)}>
          Cancel
        </button>
      )}
      {job.fine_tuned_model === null ? null : (
        <>
          <a class="button" href={hrefOf("adapters", new URLSearchParams({ name: adapterOf(job) }))}>
            Its card
          </a>
          <ProductLink job={job} />
        </>
      )}
    </div>
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
