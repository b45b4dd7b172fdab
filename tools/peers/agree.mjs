// Checks that llama.cpp and Lorikeet compute the same log-probabilities for a text, so that their speed can be compared:
//
//   node agree.mjs <model folder> [--adapter <folder>] [--text <file>] [--length 512] [--layers F32|Q4_0|Q8_0]
//
// Lorikeet answers in fp32 through its server. llama.cpp runs the same weights as F32, which must agree, or quantized:
// then the difference is the cost of its quantization. `length` is a number of characters of the text, or of arbitrary tokens.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { getLlama } from "node-llama-cpp";
import { freePort, startServer } from "../ci/server.mjs";
import { convertAdapter, convertModel } from "./convert.mjs";

/** Keys and values as in Lorikeet, without flash attention, which rounds. */
const exact = { experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32", flashAttention: false };

/** The largest difference of log-probabilities that agree. */
const tolerance = 1e-3;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    adapter: { type: "string" },
    text: { type: "string" },
    length: { type: "string", default: "512" },
    layers: { type: "string", default: "F32" },
  },
});
const [model] = positionals;
if (!model) {
  console.error(
    "usage: node agree.mjs <model> [--adapter <folder>] [--text <file>] [--length n] [--layers F32|Q4_0|Q8_0]",
  );
  process.exit(2);
}
const ours = await askLorikeet();
const theirs = await askLlama(ours.ids);
const difference = ours.logprobs.map((value, i) => Math.abs(value - theirs[i]));
const largest = Math.max(...difference);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const perplexity = (logprobs) => Math.exp(-mean(logprobs));
console.log(
  `${ours.logprobs.length} log-probabilities, llama.cpp ${flags.layers}: differ by ${mean(difference).toExponential(1)}`,
);
console.log(`on average, by ${largest.toExponential(1)} at most`);
console.log(
  `perplexity: Lorikeet fp32 ${perplexity(ours.logprobs).toFixed(4)}, llama.cpp ${perplexity(theirs).toFixed(4)}`,
);
if (flags.layers === "F32" && largest > tolerance) {
  console.error(`They do not agree within ${tolerance}.`);
  process.exitCode = 1;
}

/** Token ids, and the log-probability of each but the first. */
async function askLorikeet() {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const main = fileURLToPath(new URL("../../dist/src/cli/main.js", import.meta.url));
  const options = ["--dtype", "fp32", "--port", String(port), "--log-level", "error", "--served-model-name", "base"];
  if (flags.adapter) options.push("--adapters", dirname(flags.adapter));
  const stop = await startServer(process.execPath, [main, "serve", "--model", model, ...options], `${url}/ready`, {
    stdio: ["ignore", "ignore", "inherit"],
  });
  try {
    const body = {
      model: flags.adapter ? basename(flags.adapter) : "base",
      prompt: await promptOf(),
      ...{ max_tokens: 0, echo: true, logprobs: 0, return_token_ids: true },
    };
    const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await (await fetch(`${url}/v1/completions`, request)).json();
    if (answer.error) throw new Error(answer.error.message);
    const [{ logprobs, prompt_token_ids: ids }] = answer.choices;
    return { ids, logprobs: logprobs.token_logprobs.slice(1) };
  } finally {
    await stop();
  }
}

async function promptOf() {
  if (flags.text) return (await readFile(flags.text, "utf8")).slice(0, Number(flags.length));
  const { vocab_size: size } = JSON.parse(await readFile(join(model, "config.json"), "utf8"));
  return Array.from({ length: Number(flags.length) }, (_, i) => (i * 7919 + 11) % size);
}

async function askLlama(ids) {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-agree-"));
  const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
  try {
    const types = { layers: flags.layers, embeddings: flags.layers === "F32" ? "F32" : "Q8_0" };
    const modelPath = await convertModel(model, join(folder, "model.gguf"), types);
    const lora = flags.adapter ? await convertAdapter(flags.adapter, model, join(folder, "adapter.gguf")) : null;
    const loaded = await llama.loadModel({ modelPath });
    const context = await loaded.createContext({
      contextSize: ids.length + 1,
      batchSize: ids.length,
      ...(flags.layers === "F32" ? exact : {}),
      ...(lora ? { lora: { adapters: [{ filePath: lora, scale: 1 }] } } : {}),
    });
    const input = ids.map((id, i) => {
      // Greedy: the selected token is the likeliest.
      const filter = { tokens: [ids[i + 1] ?? 0], includeSelected: true };
      return [id, { generateNext: { logits: { filter }, totalLogitWeight: true, options: { temperature: 0 } } }];
    });
    const output = await context.getSequence().controlledEvaluate(input);
    return ids.slice(1).map((id, i) => {
      const { logits, totalLogitWeight } = output[i].next;
      return logits.get(id) - Math.max(...logits.values()) - Math.log(totalLogitWeight);
    });
  } finally {
    await llama.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}
