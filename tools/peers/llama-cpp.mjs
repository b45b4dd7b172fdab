// Runs llama.cpp (through node-llama-cpp) on the model and adapters of a report of `lorikeet bench engine --json`. Run both on the same
// machine, one after the other:
//
//   npx lorikeet bench engine --json > report.json
//   cd tools/peers && npm install && node llama-cpp.mjs ../../report.json [--dtype int4] [--rounds 5] [--steps 6] [--json]
//
// The same greedy steps as Lorikeet's: batches of 1, 4 and 16 sequences with as many tokens of context; base, one adapter for all, one
// adapter each; and a prompt of one chunk. A llama.cpp batch has one set of adapters, so one adapter per row means one evaluation
// per row. Each batch has a context of its own size, with or without flash attention, whichever is faster for the step.

import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { getLlama } from "node-llama-cpp";
import { compare, formatComparison } from "./comparison.mjs";
import { convertAdapter, convertModel } from "./convert.mjs";
import { decode, prefill, RowOpener } from "./rows.mjs";

const rowCounts = [1, 4, 16];
const maxRows = Math.max(...rowCounts);

/** llama.cpp's counterpart of each of Lorikeet's forms. Its head is Q8_0, as Lorikeet's is int8. */
const forms = {
  int4: { layers: "Q4_0", embeddings: "Q8_0" },
  int8: { layers: "Q8_0", embeddings: "Q8_0" },
  fp32: { layers: "F32", embeddings: "F32" },
};

const { reportPath, dtype: only, rounds, steps, json } = readArguments();
const report = JSON.parse(await readFile(reportPath, "utf8"));
const dtypes = Object.keys(report.weight_bytes).filter((dtype) => only === undefined || dtype === only);
if (dtypes.length === 0)
  throw new Error(`the report has ${Object.keys(report.weight_bytes).join(" and ")}, not ${only}`);
const { model: folder, adapters, adapter_names: adapterNames } = report.materials;
const gguf = join(dirname(folder), "gguf");
const { vocab_size: vocabSize } = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
const prompt = Array.from({ length: report.context_tokens }, (_, i) => (i * 7919 + 11) % vocabSize);

tell("converting, unless cached");
const adapterPaths = [];
for (const name of adapterNames.slice(0, maxRows)) {
  adapterPaths.push(await convertAdapter(join(adapters, name), folder, join(gguf, `${name}.gguf`)));
}
const llama = await getLlama({ gpu: false, build: "never", maxThreads: report.threads, logLevel: "error" });
const cases = [];
for (const dtype of dtypes) cases.push(...(await openCases(dtype)));
const samples = await measure(cases);
const comparison = compare(report, dtypes, cases, samples);
const { release } = llama.llamaCppRelease;
const info = { engine: "llama.cpp", release, threads: report.threads, shape: report.shape };
if (json) console.log(JSON.stringify({ ...info, rows: comparison }, null, 2));
else console.log(formatComparison(info, comparison));
await llama.dispose();

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      dtype: { type: "string" },
      rounds: { type: "string", default: "5" },
      steps: { type: "string", default: "6" },
      json: { type: "boolean", default: false },
    },
  });
  const [reportPath] = positionals;
  if (reportPath) return { ...values, reportPath, rounds: Number(values.rounds), steps: Number(values.steps) };
  console.error(
    "usage: node llama-cpp.mjs <report of bench engine --json> [--dtype type] [--rounds n] [--steps n] [--json]",
  );
  process.exit(2);
}

/** All steps of one form of the weights, with and without flash attention: `{id, dtype, peer, flashAttention, sample}`. */
async function openCases(dtype) {
  const { layers: peer } = forms[dtype];
  const modelPath = await convertModel(folder, join(gguf, `model.${peer.toLowerCase()}.gguf`), forms[dtype]);
  const model = await llama.loadModel({ modelPath });
  const threads = { ideal: report.threads, min: report.threads };
  const opener = new RowOpener({ model, prompt, threads, folder: gguf });
  const found = [];
  for (const flashAttention of [true, false]) {
    tell(`${peer}, ${flashAttention ? "with" : "without"} flash attention: filling contexts`);
    const add = (id, sample) => found.push({ id, dtype, peer, flashAttention, sample });
    for (const [set, lora] of [
      ["base", null],
      ["shared", adapterPaths[0]],
    ]) {
      for (const rows of rowCounts) {
        const sequences = await opener.open(rows, { flashAttention, lora });
        add(`decode/${set}/${rows}`, () => decode([sequences], prompt.length, steps));
      }
      const [sequence] = await opener.open(1, { flashAttention, lora });
      add(`prefill/${set}/${prompt.length}`, () => prefill(sequence, prompt));
    }
    const distinct = [];
    for (const lora of adapterPaths) distinct.push(await opener.open(1, { flashAttention, lora }));
    for (const rows of rowCounts.filter((count) => count > 1)) {
      add(`decode/distinct/${rows}`, () => decode(distinct.slice(0, rows), prompt.length, steps));
    }
  }
  await opener.close();
  return found;
}

/** Samples of every case, interleaved back and forth, after an uncounted round. */
async function measure(cases) {
  const samples = new Map(cases.map((one) => [one, []]));
  for (let round = -1; round < rounds; round++) {
    tell(round < 0 ? "warming up" : `round ${round + 1} of ${rounds}`);
    for (const one of round % 2 === 0 ? cases : cases.toReversed()) {
      const rate = await one.sample();
      if (round >= 0) samples.get(one).push(rate);
    }
  }
  return samples;
}

function tell(what) {
  console.error(`${(performance.now() / 1000).toFixed(0)} s: ${what}`);
}
