// Inter-token times of streams with and without a fine-tuning job beside them, in turns on one server, so that both meet the same machine:
//   npm run build && node tools/scripts/beside-training.mjs [model folder] [streams] [rounds] [--pause-training-at of the server]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI, { toFile } from "openai";
import { freePort, startServer } from "../ci/server.mjs";

const [model = "models/bookworm-7m", streams = "4", rounds = "4", pauseAt = "0"] = process.argv.slice(2);
const tokens = 160;

const folder = mkdtempSync(join(tmpdir(), "lorikeet-beside-"));
const port = await freePort();
const address = `http://127.0.0.1:${port}`;
const stop = await startServer(
  "node",
  [
    ...["dist/src/cli/main.js", "serve", "--model", model, "--served-model-name", "base", "--port", String(port)],
    ...["--adapters", folder, "--fine-tuning", join(folder, "tuning"), "--pause-training-at", pauseAt],
  ],
  `${address}/ready`,
  { env: { ...process.env, LORIKEET_LOG_LEVEL: "warn" } },
);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none", maxRetries: 0 });

/** Milliseconds between the tokens of one stream, without the first. */
async function stream() {
  const body = { model: "base", prompt: "Once", max_tokens: tokens, ignore_eos: true, stream: true };
  const times = [];
  for await (const _ of await client.completions.create(body)) times.push(performance.now());
  return times.slice(1).map((time, i) => time - times[i]);
}

const measured = async () => (await Promise.all(Array.from({ length: Number(streams) }, stream))).flat();

function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

async function reach(id, status) {
  for (;;) {
    const job = await client.fineTuning.jobs.retrieve(id);
    if (job.status === status) return;
    if (["failed", "succeeded", "cancelled"].includes(job.status))
      throw new Error(`${job.status}: ${job.error?.message}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

try {
  const row = (i) => ({ prompt: `Chapter ${i}. `.repeat(10), completion: `It was the night of day ${i}. `.repeat(8) });
  const rows = Array.from({ length: 300 }, (_, i) => JSON.stringify(row(i))).join("\n");
  const file = await client.files.create({ file: await toFile(Buffer.from(rows), "rows.jsonl"), purpose: "fine-tune" });
  const method = { type: "supervised", supervised: { hyperparameters: { n_epochs: 50, batch_size: 8 } } };
  const { id } = await client.fineTuning.jobs.create({ model: "base", training_file: file.id, method });
  await reach(id, "running");
  const [alone, beside] = [[], []];
  for (let round = 0; round < Number(rounds); round++) {
    await client.fineTuning.jobs.pause(id);
    alone.push(...(await measured()));
    await client.fineTuning.jobs.resume(id);
    await reach(id, "running");
    beside.push(...(await measured()));
  }
  await client.fineTuning.jobs.cancel(id);
  const of = (values) => ({ p50: quantile(values, 0.5), p99: quantile(values, 0.99), tokens: values.length });
  const [without, with_] = [of(alone), of(beside)];
  console.log(
    JSON.stringify({ streams, rounds, pauseAt, without, with: with_, p99Ratio: with_.p99 / without.p99 }, null, 2),
  );
} finally {
  await stop();
  rmSync(folder, { recursive: true, force: true });
}
