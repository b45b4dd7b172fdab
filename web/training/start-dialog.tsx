/** Starts a job: the file, a look at its rows, and the few numbers that a client may choose. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { Job } from "../client/fine-tuning.js";
import type { BaseInfo } from "../client/types.js";
import { Dialog } from "../parts/dialog.js";
import { Icon } from "../parts/icon.js";
import { NumberField } from "../parts/number-field.js";
import { client, needsKey, noteFailure, server } from "../session.js";
import { adapterNameOf } from "./adapter-name.js";
import { isTrainable, mostSuffixLength, type RowsPreview, readRows, suffixOf } from "./rows.js";
import { RowsView } from "./rows-view.js";
import { type TaskRows, taskRowsOf } from "./task-rows.js";

/** Of a text in a job's metadata. */
const mostDescriptionLength = 512;

export interface StartDialogProps {
  readonly file: File | null;
  readonly onStarted: (job: Job) => void;
  readonly onClose: () => void;
}

export function StartDialog({ file: dropped, onStarted, onClose }: StartDialogProps) {
  const bases = (server.value?.bases ?? []).filter(({ trains }) => trains.length > 0);
  const [file, setFile] = useState(dropped);
  const [rows, setRows] = useState<RowsPreview | null>(null);
  const [model, setModel] = useState(bases[0]?.name ?? "");
  const [asked, setAsked] = useState<string | null>(null);
  const trains = bases.find(({ name }) => name === model)?.trains ?? [];
  const task = trains.find((each) => each === asked) ?? trains[0] ?? "";
  const wanted = taskRowsOf(task);
  const [suffix, setSuffix] = useState(suffixOf(dropped?.name ?? ""));
  const [description, setDescription] = useState("");
  const [showsRows, setShowsRows] = useState(!needsKey());
  const [epochs, setEpochs] = useState<number | null>(null);
  const [learningRateMultiplier, setMultiplier] = useState<number | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [isSending, setSending] = useState(false);
  const take = (taken: File | undefined): void => {
    if (!taken) return;
    setFile(taken);
    setRows(null);
    setFault(null);
    setSuffix(suffixOf(taken.name));
  };
  const isPicked = useRef(false);
  // Until the reader picks one, the first base that the rows fit is taken.
  useEffect(() => {
    if (!file || isPicked.current) return;
    findFitting(file, bases).then(
      (found) => {
        if (found === null || isPicked.current) return;
        setModel(found.name);
        setAsked(found.task);
      },
      () => {}, // a file that cannot be read is told of below
    );
  }, [file]);
  // One that is dropped beside the open dialog takes the place of the first.
  useEffect(() => take(dropped ?? undefined), [dropped]);
  useEffect(() => {
    if (!file) return;
    let isCurrent = true;
    readRows(file, task).then(
      (read) => isCurrent && setRows(read),
      () => isCurrent && setFault(`${file.name} cannot be read.`),
    );
    return () => {
      isCurrent = false;
    };
  }, [file, task]);
  const start = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!file || !rows) return;
    setSending(true);
    setFault(null);
    try {
      const method = rows.isPreferences ? "dpo" : "supervised";
      onStarted(
        await client.fineTuning.start(file, {
          model,
          task: task === trains[0] ? null : task,
          suffix,
          description,
          showsRows,
          method,
          epochs,
          learningRateMultiplier,
        }),
      );
    } catch (error) {
      setFault(noteFailure(error));
      setSending(false);
    }
  };
  return (
    <Dialog title="Start a job" onClose={onClose}>
      <form class="upload" onSubmit={start}>
        <Chooser isChosen={file !== null} onTake={take} />
        {bases.length > 1 ? (
          <label>
            Base
            <select
              value={model}
              onChange={({ currentTarget }) => {
                isPicked.current = true;
                setModel(currentTarget.value);
              }}
            >
              {bases.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        ) : (
          <p class="muted">
            The adapter is trained for the base <b>{model}</b>.
          </p>
        )}
        {trains.length > 1 ? (
          <label>
            What it learns
            <select
              value={task}
              onChange={({ currentTarget }) => {
                isPicked.current = true;
                setAsked(currentTarget.value);
              }}
            >
              {trains.map((each) => (
                <option key={each} value={each}>
                  {taskRowsOf(each)?.aim ?? "answers and continues texts"}
                </option>
              ))}
            </select>
          </label>
        ) : null}
        <AboutRows wanted={wanted} />
        {file && rows ? <RowsView file={file} preview={rows} /> : null}
        <label>
          Name of the adapter
          <input
            value={suffix}
            maxLength={mostSuffixLength}
            onInput={({ currentTarget }) => setSuffix(currentTarget.value)}
          />
        </label>
        <p class="muted">
          It is listed as <code>{adapterNameOf(suffix, "…")}</code>; programs may also ask for{" "}
          <code>{`ft:${model}:lorikeet:${suffix}:…`}</code>.
        </p>
        <label>
          What it is for (its card says so)
          <textarea
            rows={2}
            value={description}
            maxLength={mostDescriptionLength}
            onInput={({ currentTarget }) => setDescription(currentTarget.value)}
          />
        </label>
        <label class="check">
          <input
            type="checkbox"
            checked={showsRows}
            onChange={({ currentTarget }) => setShowsRows(currentTarget.checked)}
          />
          Show up to three short rows on the card as examples. Anyone who can use this server can read it.
        </label>
        <div class="controls">
          <NumberField
            label="Epochs"
            value={epochs}
            min={1}
            max={50}
            step={1}
            placeholder="auto"
            onChange={setEpochs}
          />
          <NumberField
            label="Learning rate multiplier"
            value={learningRateMultiplier}
            min={0.01}
            max={100}
            step={0.01}
            placeholder="auto"
            onChange={setMultiplier}
          />
        </div>
        {fault === null ? null : (
          <p class="fault" role="alert">
            {fault}
          </p>
        )}
        <button type="submit" class="primary" disabled={!rows || !isTrainable(rows) || isSending}>
          Start
        </button>
      </form>
    </Dialog>
  );
}

/** null: the rows fit none. */
async function findFitting(file: File, bases: readonly BaseInfo[]) {
  const tried = new Set<string>();
  for (const { name, trains } of bases) {
    for (const task of trains) {
      if (tried.has(task)) continue;
      tried.add(task);
      if (isTrainable(await readRows(file, task))) return { name, task };
    }
  }
  return null;
}

/** What a row of the chosen task is. */
function AboutRows({ wanted }: { readonly wanted: TaskRows | null }) {
  if (wanted === null) {
    return (
      <p class="muted">
        A row is a chat (<code>messages</code>), a <code>prompt</code> with its <code>completion</code>, or a preference
        pair (<code>input</code>, <code>preferred_output</code>, <code>non_preferred_output</code>).
      </p>
    );
  }
  return (
    <div>
      <p class="muted">{wanted.about} For example:</p>
      <pre class="rows" tabIndex={0}>
        {JSON.stringify(wanted.sample)}
      </pre>
    </div>
  );
}

interface ChooserProps {
  readonly isChosen: boolean;
  readonly onTake: (file: File | undefined) => void;
}

function Chooser({ isChosen, onTake }: ChooserProps) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <div
      class="drop"
      role="group"
      aria-label="File of rows"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        event.stopPropagation();
        onTake(event.dataTransfer?.files[0]);
      }}
    >
      <Icon name="upload" />
      <p>Drop a file of JSON lines here, or</p>
      <input
        ref={input}
        type="file"
        accept=".jsonl,.json"
        hidden
        onChange={({ currentTarget }) => onTake(currentTarget.files?.[0])}
      />
      <button type="button" onClick={() => input.current?.click()}>
        {isChosen ? "choose another" : "choose one"}
      </button>
    </div>
  );
}
