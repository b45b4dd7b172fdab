/** Where an adapter or a base came from: its data, some rows of it, and the commands that make it again. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Code } from "../parts/code.js";
import { formatCount, formatTime } from "../parts/format.js";
import { keptWords } from "../parts/kept.js";
import { Picture } from "../parts/picture.js";
import { hrefOf } from "../route.js";
import { canTrain, client } from "../session.js";
import { sizeOf } from "./scores.js";
import type { JobFile, Origin, RunJob, SampleRow, TrainingRecord } from "./training-record.js";

interface OriginSectionProps {
  readonly record: TrainingRecord | null;
  /** How it came to this server; null: nothing to say. */
  readonly arrival: string | null;
  /** The fine-tuning job of this server that made it. */
  readonly ownJob: string | null;
}

export function OriginSection({ record, arrival, ownJob }: OriginSectionProps) {
  const { origin = null, command = null, job = null } = record ?? {};
  const size = record ? sizeOf(record) : [];
  return (
    <section aria-label="Where it came from" class="origin">
      <h3>Where it came from</h3>
      {arrival === null ? null : <p>{arrival}</p>}
      {record ? <RunFacts record={record} ownJob={ownJob} /> : null}
      {origin ? <DataOf origin={origin} isOfJob={job !== null} /> : null}
      {size.length > 0 ? (
        <p class="muted">
          {job === null ? "Trained with lorikeet train: " : ""}
          {size.join(" · ")}
        </p>
      ) : null}
      {command === null ? null : (
        <>
          <p>The command that trained it:</p>
          <Code text={command} />
        </>
      )}
      {origin && origin.commands.length > 0 ? <Recipe origin={origin} /> : null}
      {record === null ? <p class="muted">Its files do not say how it was made.</p> : null}
    </section>
  );
}

/** Who trained it, on what, how, and which of its weights were kept. */
function RunFacts({ record, ownJob }: { readonly record: TrainingRecord; readonly ownJob: string | null }) {
  const { job, kept, base, settings, finishedAt } = record;
  const at = finishedAt ?? job?.createdAt ?? null;
  const facts: readonly (readonly [name: string, value: ComponentChildren])[] = [
    ...(job ? [["Trained by", <JobName key="job" job={job} isOwn={job.id === ownJob} />] as const] : []),
    ...(at === null ? [] : [["Trained at", formatTime(Date.parse(at) / 1000)] as const]),
    ...(base === null ? [] : [["Base", base] as const]),
    ...(job?.files ?? []).map((file) => ["File", <FileFacts key={file.name} file={file} />] as const),
    ...(settings.length > 0 ? [["Settings", settings.map((each) => each.join(" ")).join(" · ")] as const] : []),
    ...(kept ? [["Kept", keptWords(kept)] as const] : []),
    ...(job?.checkpoint == null ? [] : [["Kept", `a checkpoint: the weights after step ${job.checkpoint}`] as const]),
  ];
  return (
    <dl class="run-facts">
      {facts.map(([name, value], i) => (
        <div key={`${name}${i}`}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** With a link while this server keeps the job and the page's key may see it. */
function JobName({ job: { id }, isOwn }: { readonly job: RunJob; readonly isOwn: boolean }) {
  const [isKnown, setKnown] = useState(false);
  useEffect(() => {
    if (!isOwn || !canTrain.value) return setKnown(false);
    client.fineTuning.job(id).then(
      () => setKnown(true),
      () => setKnown(false),
    );
  }, [id, isOwn]);
  if (isKnown) {
    return (
      <>
        the job <a href={hrefOf("training", new URLSearchParams({ job: id }))}>{id}</a> of this server
      </>
    );
  }
  return (
    <>
      the job <code>{id}</code> {isOwn ? "of this server" : "of a server"}
    </>
  );
}

const FileFacts = ({ file: { name, rows, sha256 } }: { readonly file: JobFile }) => (
  <>
    <b>{name}</b>
    {rows === null ? "" : `, ${formatCount(rows)} ${rows === 1 ? "row" : "rows"}`}
    {sha256 === null ? null : (
      <>
        , SHA-256 <code>{sha256}</code>
      </>
    )}
  </>
);

/** What a job says of its data is in its facts already. */
function DataOf({ origin, isOfJob }: { readonly origin: Origin; readonly isOfJob: boolean }) {
  const { data, license, rows, withheld } = origin;
  return (
    <>
      {isOfJob ? null : (
        <p>
          <b>Data:</b> {data}
          {license === null ? null : ` Licence: ${license}.`}
        </p>
      )}
      {rows.length > 0 ? <Rows rows={rows} /> : null}
      {withheld === null ? null : <p class="muted">{withheld}</p>}
    </>
  );
}

function Rows({ rows }: { readonly rows: readonly SampleRow[] }) {
  if (rows.every(({ isPicture }) => isPicture)) {
    return (
      <p class="tags" role="group" aria-label="Some pictures that it learned from">
        <span>It learned from pictures such as</span>
        {rows.map(({ input, output }) => (
          <span key={input} class="sample">
            <Picture url={input} label={`A picture labelled ${output}`} />
            {output}
          </span>
        ))}
      </p>
    );
  }
  return (
    <div class="table" tabIndex={0} role="group" aria-label="Some rows that it learned from">
      <table class="scores samples-learned">
        <thead>
          <tr>
            <th scope="col">It learned from rows such as</th>
            <th scope="col">Answer</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ input, output }) => (
            <tr key={input}>
              <th scope="row">{input}</th>
              <td>{output}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Recipe({ origin: { recipe, commands } }: { readonly origin: Origin }) {
  return (
    <>
      <p>
        To make it again with its data, in the project's repository
        {recipe === null ? null : (
          <>
            {" "}
            (the recipe is <code>{recipe}</code>, which npm packages do not contain)
          </>
        )}
        :
      </p>
      <Code text={commands.join("\n")} />
    </>
  );
}
