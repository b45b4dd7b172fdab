/** Jobs of the fine-tuning API: their state, their losses, and new ones by drop. Below them, the runs that made this server's adapters. */
import { useEffect, useState } from "preact/hooks";
import type { Job } from "../client/fine-tuning.js";
import { loadModels } from "../compare/models.js";
import { DropArea } from "../parts/drop-area.js";
import { Fault } from "../parts/fault.js";
import { Icon } from "../parts/icon.js";
import { route } from "../route.js";
import { canTrain, connection } from "../session.js";
import { coloursOf } from "./colours.js";
import { Curves, type Run } from "./curves.js";
import { JobList } from "./job-list.js";
import { events, hasCurves, isEnded, jobs, jobsFault, refreshJobs, watchJobs } from "./jobs.js";
import { loadRuns, trainedRuns } from "./runs.js";
import { Runs } from "./runs-list.js";
import { Samples } from "./samples.js";
import { StartDialog } from "./start-dialog.js";

const mostShown = 2;
/** Jobs that ended and are not folded away. */
const mostEnded = 4;

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
      <p class="how-to">
        To train adapters here, restart the server with a folder for jobs: <code>npm start -- --fine-tuning jobs</code>,
        or <code>lorikeet serve</code> with its other options and <code>--fine-tuning jobs</code>.
      </p>
    </>
  );
}

/** The jobs on the chart, by id: those that were picked, else the one in the address, else one that runs. */
function useShownJobs(listed: readonly Job[]) {
  const [picked, setPicked] = useState<readonly string[] | null>(null);
  const asked = route.value.parameters.get("job");
  const first =
    listed.find(({ id }) => id === asked) ??
    listed.find(({ status }) => status === "running") ??
    listed.find(hasCurves);
  const shown = picked ?? (first ? [first.id] : []);
  useEffect(() => watchJobs(shown), [shown.join()]);
  const show = (id: string): void => setPicked([id, ...shown.filter((each) => each !== id)].slice(0, mostShown));
  const toggle = (id: string): void => {
    if (shown.includes(id)) setPicked(shown.filter((each) => each !== id));
    else show(id);
  };
  return { shown, show, toggle };
}

function NoJobs() {
  return (
    <div class="drop">
      <Icon name="upload" />
      <p>
        No jobs yet. Drop a file of JSON lines here to train an adapter on it: chats, prompts with completions,
        preference pairs, or rows of a base's task.
      </p>
    </div>
  );
}

/** The curves of the shown jobs on one chart, and their sample answers. */
function ShownRuns({ runs }: { readonly runs: readonly Run[] }) {
  if (runs.length === 0) return null;
  return (
    <div class="card run">
      <Curves runs={runs} />
      {runs.map((run) => (
        <Samples key={run.job.id} {...run} />
      ))}
    </div>
  );
}

function Jobs() {
  const [starting, setStarting] = useState<{ readonly file: File | null } | null>(null);
  const listed = jobs.value ?? [];
  const { shown, show, toggle } = useShownJobs(listed);
  useEffect(() => void loadModels(), [listed.filter(({ status }) => status === "succeeded").length]);
  const colours = coloursOf(listed, shown);
  const runs = shown.flatMap((id) => {
    const job = listed.find((each) => each.id === id);
    return job ? [{ job, events: events.value.get(id) ?? [], colour: colours.get(id) ?? "" }] : [];
  });
  const drop = ({ files }: DataTransfer): void => {
    const [file] = files;
    if (file) setStarting({ file });
  };
  const endedIds = listed.filter(isEnded).map(({ id }) => id);
  const isEarlier = ({ id }: Job): boolean => endedIds.indexOf(id) >= mostEnded;
  const lists = {
    colours,
    onToggle: toggle,
    onChanged: refreshJobs,
    onStarted: ({ id }: Job) => show(id),
  };
  const [recent, earlier] = [listed.filter((job) => !isEarlier(job)), listed.filter(isEarlier)];
  return (
    <DropArea label="Training" onDrop={drop}>
      <div class="toolbar">
        <h1>Training</h1>
        <span class="grow" />
        <button type="button" class="primary" onClick={() => setStarting({ file: null })}>
          <Icon name="plus" />
          Start a job
        </button>
      </div>
      <Fault text={jobsFault.value} />
      {jobs.value !== null && listed.length === 0 ? <NoJobs /> : null}
      {listed.some((job) => !isEnded(job)) ? (
        <p class="muted">Jobs yield to requests: they slow down or pause while the server answers.</p>
      ) : null}
      <ShownRuns runs={runs} />
      <JobList {...lists} jobs={recent} />
      {earlier.length > 0 ? (
        <details class="earlier">
          <summary>Earlier jobs ({earlier.length})</summary>
          <JobList {...lists} jobs={earlier} />
        </details>
      ) : null}
      {starting ? (
        <StartDialog
          file={starting.file}
          onClose={() => setStarting(null)}
          onStarted={({ id }) => {
            setStarting(null);
            show(id);
          }}
        />
      ) : null}
    </DropArea>
  );
}
