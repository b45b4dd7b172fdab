/** Milliseconds to sample a token for each of 16 rows of 49,152 logits, the minimum of many rounds. Run by hand: `npm run build && node dist/tools/bench/sampler.js`. */

import { createSamplerState, Sampler } from "../../src/engine/sampling/sampler.js";
import { greedy, type SamplingParams } from "../../src/engine/types.js";

const vocabSize = 49_152;
const rowCount = 16;
const rounds = Number(process.argv[2] ?? 200);

/** Normal noise of deviation `sigma`; with `peaks`, a dozen tokens that stand out by a share of `peaks` nats, as in a trained model. */
function makeRows(sigma: number, peaks: number): Float32Array[] {
  let state = 1;
  const uniform = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Array.from({ length: rowCount }, () => {
    const row = Float32Array.from({ length: vocabSize }, () => {
      return sigma * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    });
    for (let i = 0; i < 12 && peaks > 0; i++) row[Math.floor(uniform() * vocabSize)] = peaks - 1.5 * i * uniform();
    return row;
  });
}

function measure(rows: readonly Float32Array[], params: SamplingParams): number {
  const sampler = new Sampler(vocabSize);
  const prompt = Array.from({ length: 300 }, (_, i) => (i * 97) % vocabSize);
  const states = rows.map((_, seed) => createSamplerState({ ...params, seed }, prompt));
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    for (const [i, state] of states.entries()) {
      const row = rows[i];
      if (row) sampler.sample(row, state);
    }
    least = Math.min(least, performance.now() - start);
  }
  return least;
}

const tempered: SamplingParams = { ...greedy, temperature: 0.8 };
const cases: readonly [string, SamplingParams][] = [
  ["greedy", greedy],
  ["temperature 1", { ...greedy, temperature: 1 }],
  ["temperature 0.8, top-p 0.95", { ...tempered, topP: 0.95 }],
  ["temperature 0.8, min-p 0.05", { ...tempered, minP: 0.05 }],
  ["temperature 0.8, top-k 50", { ...tempered, topK: 50 }],
  ["temperature 0.8, top-k 50, top-p 0.95", { ...tempered, topK: 50, topP: 0.95 }],
  ["temperature 0.8, top-k 2,000", { ...tempered, topK: 2000 }],
  [
    "three penalties, top-p 0.95",
    { ...tempered, topP: 0.95, repetitionPenalty: 1.1, presencePenalty: 0.1, frequencyPenalty: 0.1 },
  ],
  ["greedy, logprobs 0", { ...greedy, logprobs: 0 }],
  ["greedy, logprobs 5", { ...greedy, logprobs: 5 }],
];

const kinds: readonly [string, Float32Array[]][] = [
  ["peaked", makeRows(2.5, 18)],
  ["flat", makeRows(1, 0)],
  ["wide", makeRows(3, 0)],
];

console.log(
  `ms for ${rowCount} rows of ${vocabSize}, least of ${rounds}`.padEnd(42),
  ...kinds.map(([name]) => name.padStart(8)),
);
for (const [name, params] of cases) {
  console.log(name.padEnd(42), ...kinds.map(([, rows]) => measure(rows, params).toFixed(2).padStart(8)));
}
