/** Jobs of the fine-tuning API: their state, their losses, and new ones by drop. Below them, the runs that made this server's adapters. */
import { useEffect, useState } from "preact/hooks";
import { loadModels } from "../compare/models.js";
import { Icon } from "../parts/icon.js";
import { canTrain, connection } from "../session.js";
import { Curves } from "./curves.js";
import { JobCard } from "./job-card.js";
import { events, isEnded, jobs, jobsFault, refreshJobs, watchJobs } from "./jobs.js";
import { loadRuns, trainedRuns } from "./runs.js";
import { Runs } from "./runs-list.js";
import { Samples } from "./samples.js";
import { StartDialog } from "./start-dialog.js";

const mostShown = 2;

export function Training() {
  const isReady = connection.value.state === "ready";
  const published = (jobs.value ?? []).filter(({ status }) => status === "succeeded").length;
  useEffect(() => {
    if (isReady) void loadRuns();
  }, [isReady, published]);
  return (
    <div class="training-view">
      {canTrain.value ? <Jobs /> : <HowToTrain />}
      {!canTrain.value && trainedRuns.value?.length === 0 ? (
        <p class="empty">No adapter of this server says how it was trained.</p>
      ) : null}
      <Runs />
    </div>
  );
}

function HowToTrain() {
  return (
    <>
      <h1>Training</h1>
      <p>
        To train adapters from this page, its operator restarts the server with a folder for the jobs:{" "}
        <code>npm start -- --fine-tuning jobs</code>, or <code>lorikeet serve</code> with its other options and{" "}
        <code>--fine-tuning jobs</code>.
      </p>
    </>
  );
}

function Jobs() {
  const [chosen, setChosen] = useState<readonly string[] | null>(null);
  const [starting, setStarting] = useState<{ readonly file: File | null } | null>(null);
  const [isOver, setOver] = useState(false);
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
      class={`drop-area ${isOver ? "over" : ""}`}
      aria-label="Training"
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={({ currentTarget, relatedTarget }) => {
        if (!(relatedTarget instanceof Node && currentTarget.contains(relatedTarget))) setOver(false);
      }}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
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
        <p class="empty">
          No jobs yet. Drop a file of JSON lines here to train an adapter on it: chats, prompts with completions, or
          preference pairs.
        </p>
      ) : null}
      {listed.some((job) => !isEnded(job)) ? (
        <p class="muted">Jobs yield to requests: they slow down or pause while the server answers.</p>
      ) : null}
      {runs.length > 0 ? (
        <div class="card run">
          <Curves runs={runs} />
          {runs.map((run) => (
            <Samples key={run.job.id} {...run} />
          ))}
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
            setChosen([id, ...shown].slice(0, mostShown));
          }}
        />
      ) : null}
    </section>
  );
}
