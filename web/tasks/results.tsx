/** What a task's model answers: bars of labels, spans in the text, boxes over the picture, or a text. */
import { useEffect, useRef } from "preact/hooks";
import type { Box, Label, Span, TaskResult } from "../client/tasks.js";
import { Picture } from "../parts/picture.js";

export interface ResultProps {
  readonly result: TaskResult;
  /** What was asked; null for a picture. */
  readonly text: string | null;
  readonly picture: Blob | null;
}

export function Result({ result, text, picture }: ResultProps) {
  switch (result.kind) {
    case "labels":
      return (
        <>
          {picture ? <Picture blob={picture} label="The picture that was sent" /> : null}
          <Labels labels={result.labels} />
        </>
      );
    case "spans":
      return <Spans spans={result.spans} text={text ?? ""} />;
    case "boxes":
      return picture ? <Boxes boxes={result.boxes} picture={picture} /> : <Labels labels={result.boxes} />;
    case "similarity":
      return <Similarity score={result.score} />;
    case "text":
      return <p class="answer">{result.text}</p>;
    case "other":
      return <pre tabIndex={0}>{JSON.stringify(result.value, null, 1).slice(0, mostCharacters)}</pre>;
  }
}

const mostCharacters = 4_000;
const percent = (score: number): string => `${(100 * score).toFixed(1)} %`;

function Labels({ labels }: { readonly labels: readonly Label[] }) {
  return (
    <ul class="label-bars">
      {labels.map(({ label, score }) => (
        <li key={label}>
          <span>{label}</span>
          <meter min={0} max={1} value={score} aria-hidden="true" />
          <span class="figure">{percent(score)}</span>
        </li>
      ))}
    </ul>
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
      <mark key={span.start} title={percent(span.score)}>
        {characters.slice(span.start, span.end).join("")} <small>{span.label}</small>
      </mark>,
    ];
  });
  return (
    <p class="answer">
      {parts}
      {characters.slice(end).join("")}
    </p>
  );
}

function Boxes({ boxes, picture }: { readonly boxes: readonly Box[]; readonly picture: Blob }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    let isCurrent = true;
    void createImageBitmap(picture).then((image) => {
      if (isCurrent && canvas.current) draw(canvas.current, image, boxes);
    });
    return () => {
      isCurrent = false;
    };
  }, [boxes, picture]);
  return (
    <>
      <canvas class="boxes" ref={canvas} role="img" aria-label={`${boxes.length} boxes over the picture`} />
      <Labels labels={boxes} />
    </>
  );
}

function draw(canvas: HTMLCanvasElement, image: ImageBitmap, boxes: readonly Box[]): void {
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d");
  if (!context) return;
  const unit = Math.max(1, image.width / 300);
  context.drawImage(image, 0, 0);
  context.lineWidth = 2 * unit;
  context.font = `${12 * unit}px sans-serif`;
  for (const { label, xmin, ymin, xmax, ymax } of boxes) {
    context.strokeStyle = context.fillStyle = "#e8590c";
    context.strokeRect(xmin, ymin, xmax - xmin, ymax - ymin);
    context.fillText(label, xmin + 3 * unit, ymin + 13 * unit);
  }
}
