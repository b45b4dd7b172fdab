/** The rows of a file, as many as one asks for, and the lines that cannot be trained on. */
import { useState } from "preact/hooks";
import { Fault } from "../parts/fault.js";
import { formatBytes, formatCount } from "../parts/format.js";
import { hasOneLabel, indented, type RowsPreview } from "./rows.js";

const shownAtOnce = 10;
const mostFaults = 5;

const mostLabels = 8;

function labelText(labels: readonly string[]): string {
  const more = labels.length > mostLabels ? `, and ${formatCount(labels.length - mostLabels)} more` : "";
  return `${labels.length === 1 ? "label" : "labels"} ${labels.slice(0, mostLabels).join(", ")}${more}`;
}

interface RowsViewProps {
  readonly file: File;
  readonly preview: RowsPreview;
}

export function RowsView({ file, preview }: RowsViewProps) {
  const { rows, isWhole, isPreferences, labels } = preview;
  const [shown, setShown] = useState(shownAtOnce);
  const faulty = rows.filter(({ fault }) => fault !== null);
  const more = faulty.length - mostFaults;
  return (
    <section aria-label="Rows">
      <p class="muted">
        <b>{file.name}</b>: {isWhole ? "" : "more than "}
        {formatCount(rows.length)} {rows.length === 1 ? "row" : "rows"}, {formatBytes(file.size)}
        {isPreferences ? ", preference pairs" : ""}
        {labels.length > 0 ? `, ${labelText(labels)}` : ""}
      </p>
      {faulty.length === 0 && hasOneLabel(preview) ? (
        <Fault text={`All rows have the label ${labels[0]}. A classifier is trained for two labels or more.`} />
      ) : null}
      {faulty.length > 0 || rows.length === 0 ? (
        <div class="fault" role="alert">
          <p>{rows.length === 0 ? "The file has no rows." : "These lines cannot be trained on:"}</p>
          <ul>
            {faulty.slice(0, mostFaults).map(({ line, fault }) => (
              <li key={line}>
                Line {formatCount(line)} {fault}.
              </li>
            ))}
            {more > 0 ? <li>And {formatCount(more)} more.</li> : null}
          </ul>
        </div>
      ) : null}
      <pre class="rows" tabIndex={0}>
        {rows
          .slice(0, shown)
          .map(({ text }) => indented(text))
          .join("\n\n")}
      </pre>
      {rows.length > shown ? (
        <button type="button" class="quiet" onClick={() => setShown(shown + shownAtOnce)}>
          Show {formatCount(Math.min(shownAtOnce, rows.length - shown))} more rows
        </button>
      ) : null}
    </section>
  );
}
