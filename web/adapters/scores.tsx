/** How an adapter's training went: its scores on held-out rows beside the base's, and what the run was. */
import { formatCount, formatDuration, formatNumber } from "../parts/format.js";
import type { TrainingRecord } from "./training-record.js";

export function Scores({ record }: { readonly record: TrainingRecord }) {
  const { scores, samples } = record;
  return (
    <>
      {scores.length === 0 ? null : (
        <table class="scores">
          <thead>
            <tr>
              <th scope="col">On held-out rows</th>
              <th scope="col">Base</th>
              <th scope="col">With the adapter</th>
            </tr>
          </thead>
          <tbody>
            {scores.map(({ name, before, after }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>{show(before)}</td>
                <td>
                  <b>{show(after)}</b>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {samples.length === 0 ? null : (
        <table class="scores">
          <thead>
            <tr>
              {["Held-out row", "Expected", "Base", "With the adapter"].map((name) => (
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
      )}
      <p class="muted">{summaryOf(record).join(" · ")}</p>
    </>
  );
}

const show = (value: number | null): string => (value === null ? "–" : formatNumber(value));

/** The size of a run, in words. */
export function summaryOf({ trainRows, heldOutRows, steps, seconds }: TrainingRecord): string[] {
  return [
    ...(steps === null ? [] : [`${formatCount(steps)} steps`]),
    ...(trainRows === null ? [] : [`${formatCount(trainRows)} rows to train on`]),
    ...(heldOutRows === null ? [] : [`${formatCount(heldOutRows)} held out`]),
    ...(seconds === null ? [] : [formatDuration(seconds)]),
  ];
}
