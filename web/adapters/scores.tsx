/** How well a result does, beside its base: on rows that it never saw, on those that its training held out, and its answers to some of them. */
import { formatCount, formatDuration, formatNumber } from "../parts/format.js";
import type { Score, TrainingRecord } from "./training-record.js";

interface ScoresProps {
  readonly record: TrainingRecord;
  /** Of a base, whose columns are before and after the training. */
  readonly isBase?: boolean;
}

/** Nothing where the record has no figures. */
export function Scores({ record, isBase = false }: ScoresProps) {
  const { scores, samples, test, heldOutRows } = record;
  const columns = isBase ? ["Before training", "After"] : ["Base", "With the adapter"];
  const hasBefore = [...(test?.scores ?? []), ...scores].some(({ before }) => before !== null);
  return (
    <>
      {scores.length === 0 && test === null ? null : (
        <div class="table" tabIndex={0} role="group" aria-label="Scores">
          <table class="scores">
            <thead>
              <tr>
                <td />
                {(hasBefore ? columns : ["Score"]).map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            {test ? (
              <Figures
                title={`Tested on ${countOf(test.rows)}${test.unit}`}
                scores={test.scores}
                hasBefore={hasBefore}
              />
            ) : null}
            {scores.length > 0 ? (
              <Figures
                title={`Validated on ${rowsOf(heldOutRows)} that the training held out`}
                scores={scores}
                hasBefore={hasBefore}
              />
            ) : null}
          </table>
        </div>
      )}
      {samples.length === 0 ? null : (
        <div class="table" tabIndex={0} role="group" aria-label="Answers to validation rows">
          <table class="scores">
            <thead>
              <tr>
                {["Validation row", "Expected", ...columns].map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {samples.map(({ row, expected, before, after }) => (
                <tr key={row}>
                  <th scope="row">{row}</th>
                  <td>{expected}</td>
                  <td>{before}</td>
                  <td>
                    <b>{after}</b>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

const countOf = (rows: number | null): string => (rows === null ? "" : `${formatCount(rows)} `);
const rowsOf = (rows: number | null): string => `${countOf(rows)}${rows === 1 ? "row" : "rows"}`;

interface FiguresProps {
  readonly title: string;
  readonly scores: readonly Score[];
  /** Whether there is a column of the base. */
  readonly hasBefore: boolean;
}

function Figures({ title, scores, hasBefore }: FiguresProps) {
  return (
    <tbody>
      <tr>
        <th class="group" scope="rowgroup" colSpan={hasBefore ? 3 : 2}>
          {title}
        </th>
      </tr>
      {scores.map(({ name, before, after }) => {
        const { label, hint } = metricOf(name);
        return (
          <tr key={name}>
            <th scope="row" title={hint}>
              {label}
            </th>
            {hasBefore ? <td title={before === null ? notMeasured : undefined}>{show(name, before)}</td> : null}
            <td>
              <b>{show(name, after)}</b>
            </td>
          </tr>
        );
      })}
    </tbody>
  );
}

const notMeasured = "The base cannot do this task by itself, or nobody measured it";

interface Metric {
  readonly label: string;
  readonly hint?: string;
}

const metrics: Readonly<Record<string, Metric>> = {
  loss: { label: "loss (lower is better)", hint: "How unlikely the right answers are, in nats per token or row" },
  perplexity: { label: "perplexity (lower is better)", hint: "How many tokens it chooses between, on average" },
  accuracy: { label: "right answers" },
  token_accuracy: { label: "right tokens", hint: "The share of expected tokens that it ranks first" },
  exact: { label: "answers exactly right" },
  macro_f1: { label: "macro F1", hint: "Precision and recall in one number, averaged over the labels" },
  ap50: { label: "AP50", hint: "Average precision of boxes that overlap by half, at most 1" },
  chrf: { label: "chrF", hint: "How many sequences of characters match the expected text, of 100" },
  mean_steps: { label: "mean steps" },
};

const metricOf = (name: string): Metric =>
  (Object.hasOwn(metrics, name) ? metrics[name] : undefined) ?? { label: name.replaceAll("_", " ") };

/** Shares, which are read in percent. */
const shares: ReadonlySet<string> = new Set(["accuracy", "token_accuracy", "exact", "macro_f1"]);

function show(name: string, value: number | null): string {
  if (value === null) return "not measured";
  return shares.has(name) ? `${(100 * value).toFixed(1)}\u00a0%` : formatNumber(value);
}

/** The size of a run, in words. */
export function RunSize({ record }: { readonly record: TrainingRecord }) {
  return <p class="muted">{sizeOf(record).join(" · ")}</p>;
}

export function sizeOf({ trainRows, heldOutRows, steps, seconds }: TrainingRecord): string[] {
  return [
    ...(steps === null ? [] : [`${formatCount(steps)} ${steps === 1 ? "step" : "steps"}`]),
    ...(trainRows === null ? [] : [`${rowsOf(trainRows)} to train on`]),
    ...(heldOutRows === null || heldOutRows === 0 ? [] : [`${formatCount(heldOutRows)} held out for validation`]),
    ...(seconds === null ? [] : [formatDuration(seconds)]),
  ];
}
