/** Where an adapter or a base came from: its data, some rows of it, and the commands that make it again. */
import { Code } from "../parts/code.js";
import { Picture } from "../parts/picture.js";
import { sizeOf } from "./scores.js";
import type { Origin, SampleRow, TrainingRecord } from "./training-record.js";

interface OriginSectionProps {
  readonly record: TrainingRecord | null;
  /** How it came to this server; null: nothing to say. */
  readonly arrival: string | null;
}

export function OriginSection({ record, arrival }: OriginSectionProps) {
  const { origin = null, command = null } = record ?? {};
  const size = record ? sizeOf(record) : [];
  return (
    <section aria-label="Where it came from" class="origin">
      <h3>Where it came from</h3>
      {arrival === null ? null : <p>{arrival}</p>}
      {origin ? <DataOf origin={origin} /> : null}
      {size.length > 0 ? <p class="muted">Trained with lorikeet train: {size.join(" · ")}</p> : null}
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

function DataOf({ origin: { data, license, rows, withheld } }: { readonly origin: Origin }) {
  return (
    <>
      <p>
        <b>Data:</b> {data}
        {license === null ? null : ` Licence: ${license}.`}
      </p>
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
