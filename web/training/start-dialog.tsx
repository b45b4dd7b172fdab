/** Starts a job: the file, a look at its rows, and the few numbers that a client may choose. */
import { useEffect, useState } from "preact/hooks";
import type { Job, JobRequest } from "../client/fine-tuning.js";
import { CheckField } from "../parts/check-field.js";
import { Dialog } from "../parts/dialog.js";
import { Fault } from "../parts/fault.js";
import { FileButton } from "../parts/file-button.js";
import { Icon } from "../parts/icon.js";
import { useLifetime } from "../parts/lifetime.js";
import { NumberField } from "../parts/number-field.js";
import { TextArea } from "../parts/text-area.js";
import { client, needsKey, noteFailure } from "../session.js";
import { adapterNameOf } from "./adapter-name.js";
import { TargetFields, useJobTarget } from "./job-target.js";
import { isTrainable, mostSuffixLength, type RowsPreview, readRows, suffixOf } from "./rows.js";
import { RowsView } from "./rows-view.js";
import { type TaskRows, taskRowsOf } from "./task-rows.js";

/** Of a text in a job's metadata. */
const mostDescriptionLength = 512;

export interface StartDialogProps {
  readonly file: File | null;
  /** Not called once the dialog has been closed, which ends an upload. A job that was asked for already is listed all the same. */
  readonly onStarted: (job: Job) => void;
  readonly onClose: () => void;
}

export function StartDialog({ file: dropped, onStarted, onClose }: StartDialogProps) {
  const [file, setFile] = useState(dropped);
  const target = useJobTarget(file);
  const { model, tasks, task } = target;
  const { rows, isRead, fault: rowsFault } = useRows(file, task);
  const [choices, setChoices] = useState<Choices>({
    ...{ suffix: suffixOf(dropped?.name ?? ""), description: "", showsRows: !needsKey() },
    ...{ epochs: null, learningRateMultiplier: null },
  });
  const [fault, setFault] = useState<string | null>(null);
  const [isSending, setSending] = useState(false);
  const lifetime = useLifetime();
  const change = (changed: Partial<Choices>): void => setChoices((before) => ({ ...before, ...changed }));
  const take = (taken: File | undefined): void => {
    if (!taken || isSending) return;
    setFile(taken);
    setFault(null);
    change({ suffix: suffixOf(taken.name) });
  };
  // One that is dropped beside the open dialog takes the place of the first.
  useEffect(() => take(dropped ?? undefined), [dropped]);
  const start = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!file || !rows || !isRead) return;
    setSending(true);
    setFault(null);
    try {
      const method = rows.isPreferences ? "dpo" : "supervised";
      const settings = { ...choices, model, task: task === tasks[0] ? null : task, method } as const;
      const job = await client.fineTuning.start(file, settings, lifetime);
      if (!lifetime.aborted) onStarted(job);
    } catch (error) {
      if (lifetime.aborted) return;
      setFault(noteFailure(error));
      setSending(false);
    }
  };
  return (
    <Dialog title="Start a job" onClose={onClose}>
      <form class="upload" onSubmit={start}>
        <Chooser isChosen={file !== null} onTake={take} />
        <TargetFields target={target} />
        <AboutRows wanted={taskRowsOf(task)} />
        {file && rows ? <RowsView file={file} preview={rows} /> : null}
        <ChoiceFields model={model} choices={choices} onChange={change} />
        <Fault text={fault ?? rowsFault} />
        <button type="submit" class="primary" disabled={!rows || !isRead || !isTrainable(rows) || isSending}>
          Start
        </button>
      </form>
    </Dialog>
  );
}

interface ReadRows {
  readonly rows: RowsPreview | null;
  /** Whether they were read for the task that is chosen. */
  readonly isRead: boolean;
  readonly fault: string | null;
}

const unread: ReadRows = { rows: null, isRead: false, fault: null };

/** The file's rows, read for a task. Those of another task stay until these are read; those of another file do not. */
function useRows(file: File | null, task: string): ReadRows {
  const [read, setRead] = useState<(Omit<ReadRows, "isRead"> & { readonly file: File; readonly task: string }) | null>(
    null,
  );
  useEffect(() => {
    if (!file) return;
    let isCurrent = true;
    readRows(file, task).then(
      (rows) => isCurrent && setRead({ file, task, rows, fault: null }),
      () => isCurrent && setRead({ file, task, rows: null, fault: `${file.name} cannot be read.` }),
    );
    return () => {
      isCurrent = false;
    };
  }, [file, task]);
  return read?.file === file ? { ...read, isRead: read.task === task } : unread;
}

type Choices = Pick<JobRequest, "suffix" | "description" | "showsRows" | "epochs" | "learningRateMultiplier">;

interface ChoiceFieldsProps {
  readonly model: string;
  readonly choices: Choices;
  readonly onChange: (changed: Partial<Choices>) => void;
}

function ChoiceFields({ model, choices, onChange }: ChoiceFieldsProps) {
  const { suffix, description, showsRows, epochs, learningRateMultiplier } = choices;
  return (
    <>
      <label>
        Name of the adapter
        <input
          value={suffix}
          maxLength={mostSuffixLength}
          onInput={({ currentTarget }) => onChange({ suffix: currentTarget.value })}
        />
      </label>
      <p class="muted">
        It is listed as <code>{adapterNameOf(suffix, "…")}</code>; programs may also ask for{" "}
        <code>{`ft:${model}:lorikeet:${suffix}:…`}</code>.
      </p>
      <TextArea
        label="What it is for (its card says so)"
        rows={2}
        value={description}
        maxLength={mostDescriptionLength}
        onInput={(text) => onChange({ description: text })}
      />
      <CheckField
        label="Show up to three short rows on the card as examples. Anyone who can use this server can read it."
        isChecked={showsRows}
        onChange={(isChecked) => onChange({ showsRows: isChecked })}
      />
      <div class="controls">
        <NumberField
          label="Epochs"
          value={epochs}
          min={1}
          max={50}
          step={1}
          placeholder="auto"
          onChange={(value) => onChange({ epochs: value })}
        />
        <NumberField
          label="Learning rate multiplier"
          value={learningRateMultiplier}
          min={0.01}
          max={100}
          step={0.01}
          placeholder="auto"
          onChange={(value) => onChange({ learningRateMultiplier: value })}
        />
      </div>
    </>
  );
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
      <FileButton
        label={isChosen ? "choose another" : "choose one"}
        accept=".jsonl,.json"
        onChoose={([file]) => onTake(file)}
      />
    </div>
  );
}
