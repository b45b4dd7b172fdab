// Compares another engine's samples with a report of `lorikeet bench engine`.

import { median } from "./rows.mjs";

/** Lorikeet's targets: how many times as fast. */
const aims = { "decode/base/1": 1.5, "decode/base/16": 1.8, "decode/distinct/16": 4 };

/**
 * One row per step. For each of Lorikeet's forms of the weights: its rate, the other engine's rate with the matching form and the
 * faster attention, and their ratio. Then the ratio of both engines' fastest forms.
 *
 * @param dtypes of the report, those to compare
 * @param cases `{id, dtype, peer, flashAttention}`, once with and once without flash attention
 * @param samples of each case, tokens per second
 */
export function compare(report, dtypes, cases, samples) {
  const ids = [...new Set(cases.map(({ id }) => id))];
  return ids.map((id) => {
    const forms = {};
    for (const dtype of dtypes) {
      const ours = report.cells.find((cell) => cell.id === `${dtype}/${id}` || cell.id === `${dtype}/${id}/greedy`);
      const theirs = cases
        .filter((one) => one.id === id && one.dtype === dtype)
        .map((one) => ({ weights: one.peer, flashAttention: one.flashAttention, ...spreadOf(samples.get(one)) }))
        .reduce((best, one) => (one.median > best.median ? one : best));
      forms[dtype] = {
        lorikeet: ours.tokens_per_second,
        peer: theirs,
        ratio: ours.tokens_per_second.median / theirs.median,
      };
    }
    const fastest = (engine) => Math.max(...Object.values(forms).map((form) => form[engine].median));
    return { id, forms, fastest: fastest("lorikeet") / fastest("peer"), aim: aims[id] ?? null };
  });
}

function spreadOf(rates) {
  return { min: Math.min(...rates), median: median(rates), max: Math.max(...rates) };
}

/** As a table: `*` marks figures without flash attention. */
export function formatComparison({ engine, release, threads, shape }, rows) {
  const dtypes = Object.keys(rows[0].forms);
  const header = ["tokens/s"];
  for (const dtype of dtypes) header.push(rows[0].forms[dtype].peer.weights, dtype, "ratio");
  const table = rows.map(({ id, forms, fastest, aim }) => [
    id,
    ...dtypes.flatMap((dtype) => {
      const { lorikeet, peer, ratio } = forms[dtype];
      const mark = peer.flashAttention ? " " : "*";
      return [`${peer.median.toFixed(1)}${mark}`, lorikeet.median.toFixed(1), ratio.toFixed(2)];
    }),
    fastest.toFixed(2),
    aim === null ? "" : String(aim),
  ]);
  const lines = [[...header, "fastest", "aim"], ...table];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const text = lines.map((line) =>
    line.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join("  "),
  );
  const head = `${engine} ${release} through node-llama-cpp, ${threads} threads, random ${shape}; * without flash attention`;
  return [head, ...text.map((line) => line.trimEnd())].join("\n");
}
