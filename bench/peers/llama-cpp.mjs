// llama.cpp (through node-llama-cpp) on the model and adapters of a report of `lorikeet bench engine --json`, in the same session on
// the same machine:
//
//   npx lorikeet bench engine --json > report.json
//   cd bench/peers && npm install && node llama-cpp.mjs ../../report.json [--rounds 5] [--steps 6] [--json]
//
// Batches of 1, 4 and 16 sequences with as many tokens of context as Lorikeet's; greedy; base, one adapter for all, an adapter for each. A
// batch of llama.cpp has one set of adapters, so an adapter for each row means an evaluation for each.

import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { getLlama } from "node-llama-cpp";
import { convertAdapter, convertModel } from "./convert.mjs";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    steps: { type: "string", default: "6" },
    json: { type: "boolean", default: false },
  },
});
const [reportPath] = positionals;
if (!reportPath) {
  console.error("usage: node llama-cpp.mjs <report of lorikeet bench engine --json> [--rounds n] [--steps n] [--json]");
  process.exit(2);
}
const report = JSON.parse(await readFile(reportPath, "utf8"));
const [rounds, steps] = [Number(flags.rounds), Number(flags.steps)];

/** What Lorikeet aims at: so many times as fast. */
const targets = { "decode/base/1": 1.5, "decode/base/16": 1.8, "decode/distinct/16": 4 };
const rowCounts = [1, 4, 16];

const { model: folder, adapters, adapterNames } = report.materials;
const gguf = join(dirname(folder), "gguf");
const modelPath = await convertModel(folder, join(gguf, "model.q4_0.gguf"));
const adapterPaths = [];
for (const name of adapterNames.slice(0, 16)) {
  adapterPaths.push(await convertAdapter(join(adapters, name), folder, join(gguf, `${name}.gguf`)));
}

const llama = await getLlama({
  gpu: false,
  build: "never",
  maxThreads: report.threads,
  logLevel: "error",
  progressLogs: false,
});
const model = await llama.loadModel({ modelPath });
const vocabSize = JSON.parse(await readFile(join(folder, "config.json"), "utf8")).vocab_size;
const prompt = Array.from({ length: report.contextTokens }, (_, i) => (i * 7919 + 11) % vocabSize);

/** A context with sequences that hold the prompt. */
async function openRows(rows, lora) {
  const context = await model.createContext({
    sequences: rows,
    contextSize: report.contextTokens + 64,
    batchSize: Math.max(prompt.length, rows),
    threads: { ideal: report.threads, min: report.threads },
    ...(lora ? { lora: { adapters: [{ filePath: lora, scale: 1 }] } } : {}),
  });
  const sequences = Array.from({ length: rows }, () => context.getSequence());
  for (const sequence of sequences) await sequence.evaluateWithoutGeneratingNewTokens(prompt);
  return { context, sequences };
}

/** A generator for each of some sequences, set back to the prompt's end. */
async function restart(sequences) {
  return Promise.all(
    sequences.map(async (sequence) => {
      const end = sequence.nextTokenIndex;
      if (end > prompt.length) await sequence.eraseContextTokenRanges([{ start: prompt.length, end }]);
      return sequence.evaluate([5], { temperature: 0, yieldEogToken: true });
    }),
  );
}

/** Tokens a second of `groups` of generators, one group after another in each step; the first step does not count. */
async function decode(groups) {
  const running = [];
  for (const sequences of groups) running.push(await restart(sequences));
  const times = [];
  for (let step = 0; step <= steps; step++) {
    const started = performance.now();
    for (const generators of running) {
      for (const { done } of await Promise.all(generators.map((generator) => generator.next()))) {
        if (done) throw new Error("a sequence ended early");
      }
    }
    if (step > 0) times.push(performance.now() - started);
  }
  for (const generator of running.flat()) await generator.return();
  return (groups.flat().length * 1000) / median(times);
}

async function prefill(sequence) {
  await sequence.clearHistory();
  const started = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(prompt);
  return (prompt.length * 1000) / (performance.now() - started);
}

function median(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

const base = await openRows(16, null);
const shared = await openRows(16, adapterPaths[0]);
const distinct = [];
for (const path of adapterPaths) distinct.push(await openRows(1, path));

const cases = [];
for (const rows of rowCounts) {
  cases.push({ id: `decode/base/${rows}`, sample: () => decode([base.sequences.slice(0, rows)]) });
  cases.push({ id: `decode/shared/${rows}`, sample: () => decode([shared.sequences.slice(0, rows)]) });
  if (rows === 1) continue;
  cases.push({
    id: `decode/distinct/${rows}`,
    sample: () => decode(distinct.slice(0, rows).map(({ sequences }) => sequences)),
  });
}
cases.push({ id: `prefill/base/${prompt.length}`, sample: () => prefill(base.sequences[15]) });
cases.push({ id: `prefill/shared/${prompt.length}`, sample: () => prefill(shared.sequences[15]) });

const samples = new Map(cases.map(({ id }) => [id, []]));
for (let round = -1; round < rounds; round++) {
  for (const { id, sample } of round % 2 === 0 ? cases : cases.toReversed()) {
    const rate = await sample();
    if (round >= 0) samples.get(id).push(rate);
  }
}

const rows = cases.map(({ id }) => {
  const rates = samples.get(id);
  const peer = { min: Math.min(...rates), median: median(rates), max: Math.max(...rates) };
  const ours = {};
  for (const { id: cell, step, tokensPerSecond } of report.cells) {
    if (cell !== `${step.dtype}/${id}${step.sampling === null ? "" : "/greedy"}`) continue;
    ours[step.dtype] = { tokensPerSecond: tokensPerSecond.median, ratio: tokensPerSecond.median / peer.median };
  }
  return { id, tokensPerSecond: peer, target: targets[id] ?? null, lorikeet: ours };
});

const { _llamaCppRelease: llamaRelease } = llama;
const { release } = llama.llamaCppRelease ?? llamaRelease ?? {};
const info = { engine: "llama.cpp", release, threads: report.threads, shape: report.shape, weights: "Q4_0, head Q8_0" };
if (flags.json) console.log(JSON.stringify({ ...info, rows }, null, 2));
else print();

function print() {
  const dtypes = Object.keys(report.weightBytes);
  console.log(
    `llama.cpp ${release} through node-llama-cpp, ${info.weights}, ${info.threads} threads, random ${info.shape}`,
  );
  const header = ["tokens/s", "llama.cpp", ...dtypes.flatMap((dtype) => [dtype, "ratio"]), "aim"];
  const lines = rows.map(({ id, tokensPerSecond, target, lorikeet }) => [
    id,
    tokensPerSecond.median.toFixed(1),
    ...dtypes.flatMap((dtype) => [
      lorikeet[dtype]?.tokensPerSecond.toFixed(1) ?? "",
      lorikeet[dtype]?.ratio.toFixed(2) ?? "",
    ]),
    target === null ? "" : String(target),
  ]);
  const widths = header.map((_, column) => Math.max(...[header, ...lines].map((line) => line[column].length)));
  for (const line of [header, ...lines]) {
    const cells = line.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])));
    console.log(cells.join("  ").trimEnd());
  }
}

await llama.dispose();
