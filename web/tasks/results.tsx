/** What a task's model answers: bars of labels, spans in the text, boxes over the picture, or a text. */
import { useState } from "preact/hooks";
import type { Label, Span, TaskResult } from "../client/tasks.js";
import { formatPercent } from "../parts/format.js";
import { Boxes } from "./boxes.js";

export interface ResultProps {
  readonly result: TaskResult;
  /** What was asked; null for a picture. */
  readonly text: string | null;
  readonly picture: Blob | null;
}

export function Result({ result, text, picture }: ResultProps) {
  switch (result.kind) {
    case "labels":
      return <Labels labels={result.labels} />;
    case "spans":
      return <Spans spans={result.spans} text={text ?? ""} />;
    case "boxes":
      return picture ? <Boxes boxes={result.boxes} picture={picture} /> : <Labels labels={result.boxes} />;
    case "similarity":
      return <Similarity score={result.score} />;
    case "text":
      return <p class="answer">{result.text === "" ? <i>An empty text.</i> : result.text}</p>;
    case "other":
      return <pre tabIndex={0}>{JSON.stringify(result.value, null, 1).slice(0, mostCharacters)}</pre>;
  }
}

const mostCharacters = 4_000;
/** Labels that are shown at first: the likeliest say most. */
const mostLabels = 5;

function Labels({ labels }: { readonly labels: readonly Label[] }) {
  const [isWhole, setWhole] = useState(false);
  const ordered = [...labels].sort((a, b) => b.score - a.score);
  const shown = isWhole ? ordered : ordered.slice(0, mostLabels);
  return (
    <>
      <ul class="label-bars">
        {shown.map(({ label, score }) => (
          <li key={label}>
            <span>{label}</span>
            <meter min={0} max={1} value={score} aria-hidden="true" />
            <span class="figure">{formatPercent(score)}</span>
          </li>
        ))}
      </ul>
      {labels.length > mostLabels ? (
        <button type="button" class="quiet more" aria-expanded={isWhole} onClick={() => setWhole(!isWhole)}>
          {isWhole ? `The first ${mostLabels}` : `All ${labels.length} labels`}
        </button>
      ) : null}
    </>
  );
}

/** Vectors may point away from each other; a bar shows how near they are. */
function Similarity({ score }: { readonly score: number }) {
  return (
    <ul class="label-bars">
      <li>
        <span>similarity</span>
        <meter min={0} max={1} value={score} aria-hidden="true" />
        <span class="figure">{score.toFixed(3)}</span>
      </li>
    </ul>
  );
}

function Spans({ spans, text }: { readonly spans: readonly Span[]; readonly text: string }) {
  const ordered = [...spans].sort((a, b) => a.start - b.start);
  const characters = [...text];
  let end = 0;
  const parts = ordered.flatMap((span) => {
    if (span.start < end) return [];
    const before = characters.slice(end, span.start).join("");
    end = span.end;
    return [
      before,
      <mark key={span.start} title={formatPercent(span.score)}>
        {characters.slice(span.start, span.end).join("")} <small>{span.label}</small>
      </mark>,
    ];
  });
  return (
    <>
      <p class="answer">
        {parts}
        {characters.slice(end).join("")}
      </p>
      {spans.length === 0 ? <p class="muted">It marks nothing in this text.</p> : null}
    </>
  );
}
