/** A fine-tuning job of the real service: a process trains over a small base, and its adapter answers under its alias. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import OpenAI, { toFile } from "openai";
import { onlyWhenLong } from "../support/long.js";
import { until } from "../support/rig.js";
import { adaptersFolder, openService } from "../support/service.js";
import { taskRoot } from "../support/task-models.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folders: string[] = [];
after(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

/** What a small model is served with. */
async function flagsFor(adapters: string, fineTuning: string): Promise<Record<string, string>> {
  const model = join(await newFolder(), "tiny");
  await writeTinyModel(model, "F32");
  return {
    model,
    adapters,
    fineTuning,
    maxContext: "128",
    trainingNice: "0",
    pauseTrainingAt: "0",
    drainTimeout: "20s",
  };
}

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-tuning-"));
  folders.push(folder);
  return folder;
}

const row = (question: string, answer: string) =>
  JSON.stringify({
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: answer, weight: 1 },
    ],
  });

async function allOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Waits for a status, and fails with the job's error at any other end. */
async function reaches(client: OpenAI, id: string, status: string) {
  for (;;) {
    const job = await client.fineTuning.jobs.retrieve(id);
    if (job.status === status) return job;
    assert.ok(!["failed", "succeeded", "cancelled"].includes(job.status), `${job.status}: ${job.error?.message}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("a job trains beside the server, goes on in the next one, and its adapter answers by its alias", async () => {
  await using store = await adaptersFolder({});
  const folder = await newFolder();
  const flags = await flagsFor(store.path, folder);
  const rows = Array.from({ length: 12 }, () => row("Say it:", "I said it.")).join("\n");
  let id: string;
  {
    await using service = await openService(flags);
    const client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: "none", maxRetries: 0 });
    const file = await client.files.create({ file: await toFile(Buffer.from(rows), "a.jsonl"), purpose: "fine-tune" });
    const hyperparameters = { n_epochs: 3, batch_size: 4, learning_rate_multiplier: 1 };
    const method = { type: "supervised" as const, supervised: { hyperparameters } };
    ({ id } = await client.fineTuning.jobs.create({ model: "tiny", training_file: file.id, method, seed: 1 }));
    await reaches(client, id, "running");
    await service.stopJobs();
    assert.equal((await client.fineTuning.jobs.retrieve(id)).status, "queued");
  }
  await using service = await openService(flags);
  const client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: "none", maxRetries: 0 });
  const job = await reaches(client, id, "succeeded");
  const model = job.fine_tuned_model ?? "";
  const asked = { messages: [{ role: "user" as const, content: "Say it:" }], temperature: 0, max_tokens: 16 };
  const [tuned, base] = await Promise.all(
    [model, "tiny"].map((name) => client.chat.completions.create({ ...asked, model: name })),
  );
  assert.equal(tuned?.model, model);
  assert.notEqual(tuned?.choices[0]?.message.content, base?.choices[0]?.message.content);
  const events = await allOf(client.fineTuning.jobs.listEvents(id));
  const held = events.find(({ message }) => message.startsWith("Held-out loss"));
  const figures = Object(held?.data);
  assert.ok(figures.full_valid_loss < figures.base_valid_loss, JSON.stringify(figures));
  const sampled = events.flatMap(({ message, data }) => (/^Step \d+\/\d+: sample/.test(message) ? [Object(data)] : []));
  const sampledAt = sampled.map(({ step }) => step);
  assert.ok(sampledAt.length > 0 && sampledAt.length <= 4, String(sampledAt));
  assert.ok(sampled.every(({ samples }) => samples.length > 0 && samples[0].prompt.includes("Say it:")));
  const { samples = [] } = Object(events.find(({ message }) => message.startsWith("Sample answers"))?.data);
  assert.equal(samples[0]?.prompt.includes("Say it:"), true);
  assert.notEqual(samples[0].before, samples[0].after);
  const steps = events
    .filter(({ message }) => /training loss/.test(message))
    .map(({ message }) => message.split(":")[0]);
  assert.equal(new Set(steps).size, steps.length, "no step is told twice");
  const checkpoints = await allOf(client.fineTuning.jobs.checkpoints.list(id));
  for (const { fine_tuned_model_checkpoint: name } of checkpoints) await client.models.retrieve(name);
  assert.ok(checkpoints.length > 1);
  const share = checkpoints[0]?.metrics.valid_mean_token_accuracy ?? -1;
  assert.ok(share >= 0 && share <= 1, `${share} of the tokens`);
  assert.deepEqual((await readdir(join(folder, "jobs", id))).sort(), ["events.jsonl", "job.json"]);
  const { data: adapters } = Object(await (await fetch(`${service.url}/v1/adapters`)).json());
  const published = adapters.map(({ name }: { name: string }) => name).find((name: string) => /^ft-/.test(name));
  const cardOf = async (name: string) => Object(await (await fetch(`${service.url}/v1/adapters/${name}/card`)).json());
  const { readme, examples, training } = await cardOf(published);
  assert.match(readme, /LoRA adapter[\s\S]*train: a\.jsonl[\s\S]*Trained by the fine-tuning job ftjob-/);
  assert.deepEqual(
    [training.job.id, training.job.files, training.job.hyperparameters],
    [
      id,
      [{ split: "train", name: "a.jsonl", rows: 12 }],
      { n_epochs: 3, batch_size: 4, learning_rate_multiplier: 1, seed: 1 },
    ],
  );
  assert.deepEqual(
    training.origin.rows,
    [{ input: "Say it:", output: "I said it." }],
    "without keys all see all files",
  );
  assert.ok(examples.length > 0 && examples[0].text.includes("Say it:"));
  const { kept_step: kept, steps: all } = training.results;
  assert.equal(Object(job).lorikeet.kept.step, kept);
  assert.ok(events.some(({ message }) => message.startsWith(`The weights of step ${kept} of ${all} are published: `)));
  const ours = adapters.filter(({ name }: { name: string }) => name.startsWith("ft-"));
  assert.ok(ours.every(({ job: made }: { job: string }) => made === id));
  const onTheWay = ours.find(({ name }: { name: string }) => name.includes("-step-"));
  const { training: part } = await cardOf(onTheWay.name);
  assert.deepEqual([part.job.id, onTheWay.name.endsWith(`-step-${part.job.checkpoint}`)], [id, true]);
});

test("a job trains a classifier of texts for the labels of its rows, and its adapter classifies by its alias", async () => {
  await using store = await adaptersFolder({});
  const [bert, resnet] = ["bert-sequence-classification", "resnet"].map((name) => join(taskRoot, name));
  const flags = { adapters: store.path, fineTuning: await newFolder(), trainingNice: "0", pauseTrainingAt: "0" };
  await assert.rejects(
    openService({ ...flags, model: resnet ?? "" }),
    /--fine-tuning is for decoders and for task models/,
  );
  await using service = await openService({ ...flags, model: [bert ?? "", resnet ?? ""] });
  const client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: "none", maxRetries: 0 });
  const facts = Object(await (await fetch(service.url, { headers: { accept: "application/json" } })).json());
  assert.deepEqual(
    facts.bases.map(({ trains }: { trains: string[] }) => trains),
    [["text-classification"], []],
  );
  const words = { "up, well": ["fine", "warm", "honest"], down: ["dull", "weak", "badly"] };
  const lines = Array.from({ length: 32 }, (_, i) => {
    const label = i % 2 === 0 ? "up, well" : "down";
    return JSON.stringify({ text: `the film is ${words[label][i % 3]} and ${words[label][(i >> 1) % 3]} .`, label });
  });
  const upload = async (text: string) =>
    await client.files.create({ file: await toFile(Buffer.from(text), "a.jsonl"), purpose: "fine-tune" });
  const training_file = (await upload(lines.join("\n"))).id;
  const asked = { model: "bert-sequence-classification", training_file, seed: 1 };
  await assert.rejects(client.fineTuning.jobs.create({ ...asked, model: "resnet" }), {
    status: 404,
    message:
      /`model` is not a base that can be fine-tuned; available: `bert-sequence-classification`\. Jobs do not train `resnet`; `lorikeet train` does/,
  });
  await assert.rejects(client.fineTuning.jobs.create({ ...asked, method: { type: "dpo" } }), {
    status: 400,
    message: /`method\.type` is "dpo"; the base `bert-sequence-classification` is trained with "supervised"/,
  });
  const { id } = await client.fineTuning.jobs.create({
    ...asked,
    hyperparameters: { n_epochs: 8, batch_size: 4, learning_rate_multiplier: 2 },
    metadata: { card_rows: "hide" },
  });
  const job = await reaches(client, id, "succeeded");
  const model = job.fine_tuned_model ?? "";
  const classified = await fetch(`${service.url}/classify`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, input: ["the film is warm and fine .", "the film is weak and dull ."] }),
  });
  const { data } = Object(await classified.json());
  assert.deepEqual(
    data.map(({ label }: { label: string }) => label),
    ["up, well", "down"],
  );
  const events = await allOf(client.fineTuning.jobs.listEvents(id));
  const sampled = events.flatMap(({ data: shown }) => Object(shown).samples ?? []);
  assert.ok(
    sampled.length > 0 && sampled.every(({ prompt }) => prompt.startsWith("the film is")),
    "rows are shown to their owner",
  );
  const { data: adapters } = Object(await (await fetch(`${service.url}/v1/adapters`)).json());
  const [{ name, base }] = adapters.filter(({ name: each }: { name: string }) => !each.includes("ckpt"));
  assert.equal(base, "bert-sequence-classification");
  const card = await (await fetch(`${service.url}/v1/adapters/${name}/card`)).text();
  assert.match(card, /"readme":".*LoRA adapter/);
  assert.doesNotMatch(card, /the film is/, "whose owner hides its rows");
  const single = await upload(lines[0] ?? "");
  const one = await client.fineTuning.jobs.create({ ...asked, training_file: single.id });
  const { error } = await reaches(client, one.id, "failed");
  assert.deepEqual([error?.code, error?.param], ["data_invalid", "training_file"]);
  assert.match(error?.message ?? "", /the single label "up, well"; a classifier is trained for two labels or more/);
});

test("the example of the documents runs, and a job whose data is wrong says where, without a folder of the server", async () => {
  await using store = await adaptersFolder({});
  const folder = await newFolder();
  await using service = await openService(await flagsFor(store.path, folder));
  const [, example = ""] = /^```js\n([\s\S]*?)^```$/m.exec(readFileSync("docs/fine-tuning.md", "utf8")) ?? [];
  const script = example
    .replaceAll("http://localhost:8080", service.url)
    .replaceAll("bookworm-7m", "tiny")
    .replaceAll("(resolve, 1000)", "(resolve, 50)");
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  assert.match(stdout, /^ft:tiny:lorikeet:numbers:[0-9a-f]{12} /);
  const client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: "none", maxRetries: 0 });
  const text = `${row("a", "b")}\n{"messages": 3}\nnot json\n`;
  const file = await client.files.create({ file: await toFile(Buffer.from(text), "a.jsonl"), purpose: "fine-tune" });
  const { id } = await client.fineTuning.jobs.create({ model: "tiny", training_file: file.id });
  const { error } = await reaches(client, id, "failed");
  assert.deepEqual([error?.code, error?.param], ["data_invalid", "training_file"]);
  assert.match(error?.message ?? "", /train\.jsonl:2: .*train\.jsonl:3: /);
  assert.ok(!error?.message.includes(folder), error?.message);
});

test("the process of a job ends with a server that is killed, even while it is stopped", async () => {
  if (process.platform !== "linux") return;
  const entry = fileURLToPath(new URL("../../src/cli/jobs/train-child.js", import.meta.url));
  const script = `
    const child = require("node:child_process").fork(${JSON.stringify(entry)});
    child.once("message", () => { child.kill("SIGSTOP"); console.log(child.pid); });`;
  const server = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(server.stdout, "data");
  const pid = Number(String(line));
  const stateOf = (): string => {
    const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, "latin1") : ") gone";
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[0] ?? "";
  };
  await until(() => stateOf() === "T", "a stopped process");
  server.kill("SIGKILL");
  await until(() => ["gone", "Z", "X"].includes(stateOf()), "the end of the process");
});

/** Runs a job on rows to its end. */
async function trained(client: OpenAI, rows: readonly object[], asked: Readonly<Record<string, unknown>>) {
  const text = rows.map((each) => JSON.stringify(each)).join("\n");
  const file = await client.files.create({ file: await toFile(Buffer.from(text), "a.jsonl"), purpose: "fine-tune" });
  const body = { seed: 1, ...asked, training_file: file.id } as Parameters<typeof client.fineTuning.jobs.create>[0];
  const { id } = await client.fineTuning.jobs.create(body);
  return (await reaches(client, id, "succeeded")).fine_tuned_model ?? "";
}

test(
  "jobs train a head over a decoder, a translator and a policy, which answer on their routes",
  onlyWhenLong,
  async () => {
    await using store = await adaptersFolder({});
    const flags = await flagsFor(store.path, await newFolder());
    const [marian, policy] = ["marian", "policy-mlp"].map((name) => join(taskRoot, name));
    await using service = await openService({ ...flags, model: [String(flags.model), marian ?? "", policy ?? ""] });
    const client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: "none", maxRetries: 0 });
    const post = async (path: string, body: object) => {
      const headers = { "content-type": "application/json" };
      const response = await fetch(`${service.url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
      assert.equal(response.status, 200, await response.clone().text());
      return Object(await response.json());
    };
    const hyperparameters = { n_epochs: 1, batch_size: 4 };
    const labelled = Array.from({ length: 12 }, (_, i) => ({ text: `row ${i}`, label: i % 2 === 0 ? "even" : "odd" }));
    const score = await trained(client, labelled, { model: "tiny", task: "text-classification", hyperparameters });
    const { data } = await post("/classify", { model: score, input: "row 3" });
    assert.match(data[0].label, /^(even|odd)$/);
    const phrases = Array.from({ length: 8 }, (_, i) => ({ source: `${i} days ago`, target: `il y a ${i} jours` }));
    const translator = await trained(client, phrases, { model: "marian", hyperparameters });
    await post(`/models/${translator}/pipeline/translation`, { inputs: "3 days ago" });
    const moves = Array.from({ length: 16 }, (_, i) => ({ observation: [0, 0, 0, i % 2].slice(0, 4), action: i % 2 }));
    const name = await trained(client, moves, { model: "policy-mlp", hyperparameters });
    const { inputs } = Object(await (await fetch(`${service.url}/v2/models/${name}`)).json());
    const [{ name: input, datatype, shape }] = inputs;
    const data4 = { name: input, datatype, shape: [1, ...shape.slice(1)], data: [0, 0, 0, 1] };
    assert.equal((await post(`/v2/models/${name}/infer`, { inputs: [data4] })).outputs[0].shape[0], 1);
    await assert.rejects(trained(client, moves, { model: "policy-mlp", task: "object-detection" }), {
      message: /`task` is "object-detection"; jobs train the base `policy-mlp` for reinforcement-learning/,
    });
  },
);
