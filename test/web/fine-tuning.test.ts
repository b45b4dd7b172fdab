/** The page's side of fine-tuning: what it reads and sends, and what it shows of a file of rows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { forms as serverForms } from "../../src/train/data/rows.js";
import { textClassification } from "../../src/train/tasks/setups/classification.js";
import { featureExtraction } from "../../src/train/tasks/setups/embeddings.js";
import { policy } from "../../src/train/tasks/setups/policy.js";
import type { SetupParts } from "../../src/train/tasks/setups/setup.js";
import { tokenClassification } from "../../src/train/tasks/setups/tagging.js";
import { errorOf, noAnswer } from "../../web/client/errors.js";
import { FineTuningClient, type Job, type JobEvent } from "../../web/client/fine-tuning.js";
import { countScale, roundScale } from "../../web/parts/scale.js";
import { coloursOf } from "../../web/training/colours.js";
import { forms, isTrainable, readRows, suffixOf } from "../../web/training/rows.js";
import { samplesOf } from "../../web/training/sample-answers.js";

const request = {
  model: "base",
  task: null,
  suffix: "",
  description: "",
  showsRows: false,
  method: "supervised",
  epochs: null,
  learningRateMultiplier: null,
} as const;

/** Starts a job that ends with an error, and lists the calls. */
async function callsOfStart(fault: Error): Promise<readonly string[]> {
  const calls: string[] = [];
  const client = new FineTuningClient(async (path, { method = "GET" } = {}) => {
    calls.push(`${method} ${path}`);
    if (path === "v1/fine_tuning/jobs") throw fault;
    return Response.json({ id: "file-1" });
  });
  await assert.rejects(client.start(new File(["{}"], "rows.jsonl"), request), fault);
  return calls;
}

test("the rows of a refused job are deleted; those of a job that may have been made are not", async () => {
  const sent = ["POST v1/files", "POST v1/fine_tuning/jobs"];
  assert.deepEqual(await callsOfStart(errorOf(422, "")), [...sent, "DELETE v1/files/file-1"]);
  assert.deepEqual(await callsOfStart(noAnswer()), sent);
});

test("an upload of rows that its reader has left starts no job, and is not kept", async () => {
  const calls: string[] = [];
  const leaving = new AbortController();
  const client = new FineTuningClient(async (path, { method = "GET" } = {}) => {
    calls.push(`${method} ${path}`);
    leaving.abort();
    return Response.json({ id: "file-1" });
  });
  const start = client.start(new File(["{}"], "rows.jsonl"), request, leaving.signal);
  await assert.rejects(start, { code: "no_answer" });
  assert.deepEqual(calls, ["POST v1/files", "DELETE v1/files/file-1"]);
});

test("a job starts again on the same rows with the same settings", async () => {
  let sent: unknown;
  const client = new FineTuningClient(async (_path, { body } = {}) => {
    sent = JSON.parse(String(body));
    return Response.json({ id: "ftjob-2" });
  });
  const settings = {
    ...{ model: "base", training_file: "file-1", seed: 7, metadata: { a: "b" } },
    method: { type: "dpo", dpo: { hyperparameters: { n_epochs: 2 } } },
  };
  const job = { ...settings, id: "ftjob-1", status: "failed", validation_file: null, user_provided_suffix: "mine" };
  await client.startAgain(job as unknown as Job);
  assert.deepEqual(sent, { ...settings, suffix: "mine" });
});

test("only the events after the known ones are read", async () => {
  const eventOf = (index: number) => ({ id: `e${index}` }) as JobEvent;
  let events = Array.from({ length: 250 }, (_, index) => eventOf(index));
  let pages = 0;
  const client = new FineTuningClient(async (path) => {
    pages++;
    const after = new URL(path, "http://x").searchParams.get("after");
    const newestFirst = events.toReversed();
    const from = newestFirst.findIndex(({ id }) => id === after) + 1;
    return Response.json({ data: newestFirst.slice(from, from + 100), has_more: from + 100 < events.length });
  });
  const first = await client.events("job");
  assert.deepEqual([first, pages], [events, 3]);
  assert.deepEqual([await client.events("job", first), pages], [events, 4]);
  events = [...events, eventOf(250), eventOf(251)];
  assert.deepEqual([await client.events("job", first), pages], [events, 5]);
  // More than a page has come.
  assert.deepEqual([await client.events("job", first.slice(0, 120)), pages], [events, 7]);
  // What is known is no longer kept.
  assert.deepEqual([await client.events("job", [eventOf(-1)]), pages], [events, 10]);
});

test("a suffix has the characters that jobs accept", () => {
  const names = ["my.rows.v2.jsonl", "_-chats (1).jsonl", "Ünï ☃.jsonl", ".jsonl", "☃", "plain_name-1.json"];
  assert.deepEqual(names.map(suffixOf), ["my-rows-v2", "chats-1", "n", "", "", "plain_name-1"]);
  assert.equal(suffixOf(`${"a".repeat(80)}.jsonl`), "a".repeat(64));
});

/** The kind of a task's rows in counts. */
const tasks: Readonly<Record<string, string>> = {
  ...{ label: "text-classification", tagged: "token-classification" },
  ...{ pair: "feature-extraction", transition: "reinforcement-learning" },
};

const faultsOf = async (lines: readonly string[], task: string | null = null) =>
  (await readRows(new Blob([lines.join("\n")]), task)).rows.flatMap(({ line, fault }) =>
    fault === null ? [] : [[line, fault]],
  );

test("lines that cannot be trained on are found before they are sent, by the server's own forms", async () => {
  const shapes = serverForms.map(({ required, optional }) => (optional ? { required, optional } : { required }));
  assert.deepEqual(forms, shapes);
  for (const { example } of serverForms) assert.deepEqual(await faultsOf([JSON.stringify({ ...example, id: 1 })]), []);
  assert.deepEqual(
    await faultsOf(['{"prompt":"a","completion":"b"}', "", "not json", '["a"]', '{"question":"a","answer":"b"}', "{}"]),
    [
      [3, "is not JSON"],
      [4, "is not a JSON object"],
      [5, "has the fields question, answer, which fit none of the forms"],
      [6, "has no fields"],
    ],
  );
  const [text, pair] = ['{"text":"a"}', '{"chosen":"a","rejected":"b","prompt":"c"}'];
  assert.deepEqual(await faultsOf([text, pair]), [[2, "is a preference pair, and the first row is none"]]);
  assert.deepEqual(await faultsOf([pair, text]), [[2, "is not a preference pair, as the first row is"]]);
  assert.equal((await readRows(new Blob([pair]))).isPreferences, true);
});

test("rows of a task are checked against its forms, and their labels are told", async () => {
  const parts = {
    tokenizer: {},
    graph: { inputs: [], outputs: [{ name: "logits", shape: [1, 2] }], nodes: [], initializers: [] },
    head: {},
  };
  const own = { tokenClassification, featureExtraction, textClassification, policy };
  for (const open of Object.values(own)) {
    const { reader } = open(parts as unknown as SetupParts);
    const task = tasks[reader.kind] ?? "";
    for (const { example } of reader.forms) assert.deepEqual(await faultsOf([JSON.stringify(example)], task), []);
  }
  for (const [task, row, fault] of [
    [
      "text-classification",
      { text: "a" },
      "has the fields text, not text and label, or text and labels, or text and score",
    ],
    ["text-classification", { text: "", label: "b" }, "has no text in text"],
    ["token-classification", { tokens: ["a"], tags: ["O", "O"] }, "has 1 tokens and 2 tags"],
    ["feature-extraction", { anchor: "a", positive: 3 }, "has no text in positive"],
    ["translation", { source: "a" }, "has the fields source, not source and target"],
    ["reinforcement-learning", { observation: ["x"], action: 1 }, "has an observation that is not all numbers"],
  ] as const) {
    assert.deepEqual(await faultsOf([JSON.stringify(row)], task), [[1, fault]]);
  }
  const one = await readRows(new Blob(['{"text":"a","label":"b"}']), "text-classification");
  assert.deepEqual([one.labels, isTrainable(one)], [["b"], false]);
});

test("of a long file whole rows of the beginning are read", async () => {
  const { rows, isWhole } = await readRows(new Blob(['{"text":"a"}\n', '{"text":"', "x".repeat(2 ** 23)]));
  assert.deepEqual([rows.map(({ text }) => text), isWhole], [['{"text":"a"}'], false]);
});

test("answers of a job stand in the order of their steps, those of a repeated step once, the end's last", () => {
  const eventOf = (step: number | null, after: string): JobEvent => ({
    ...{ id: "e", created_at: 0, level: "info", message: "", type: "message" },
    data: { ...(step === null ? {} : { step }), samples: [{ prompt: "Say", before: "base", after }] },
  });
  const figures: JobEvent = { ...eventOf(1, ""), data: { step: 1, train_loss: 2 } };
  const events = [eventOf(10, "b"), eventOf(5, "a"), figures, eventOf(10, "c"), eventOf(null, "d")];
  const answers = [
    { when: "step 5", text: "a" },
    { when: "step 10", text: "c" },
    { when: "trained", text: "d" },
  ];
  assert.deepEqual(samplesOf(events), [{ prompt: "Say", before: "base", answers }]);
});

test("a job keeps its colour on the chart while others come and go", () => {
  const listed = ["d", "c", "b", "a"].map((id) => ({ id }));
  const alone = coloursOf(listed, ["b"]).get("b");
  assert.equal(coloursOf([{ id: "e" }, ...listed], ["e", "b"]).get("b"), alone);
  // As many jobs apart as there are colours.
  const both = coloursOf([{ id: "e" }, ...listed], ["e", "a"]);
  assert.notEqual(both.get("e"), both.get("a"));
  assert.equal(both.get("a"), coloursOf(listed, ["a"]).get("a"));
});

test("axes are marked at round numbers that the scale covers", () => {
  const marked = ({ low, high, ticks }: ReturnType<typeof roundScale>) => [
    low,
    high,
    ticks.map(({ text }) => text).join(" "),
  ];
  assert.deepEqual(marked(roundScale(0, 5.88, 5)), [0, 6, "0 2 4 6"]);
  assert.deepEqual(marked(roundScale(0, 0.0025, 3)), [0, 0.003, "0 0.001 0.002 0.003"]);
  assert.deepEqual(marked(roundScale(-1.5, 2, 5)), [-2, 2, "-2 -1 0 1 2"]);
  assert.deepEqual(marked(roundScale(0, 0, 5)), [0, 0.2, "0 0.2"]);
  assert.deepEqual(marked(countScale(1080, 6)), [0, 1080, "0 200 400 600 800 1,000"]);
  assert.deepEqual(marked(countScale(3, 6)), [0, 3, "0 1 2 3"]);
  assert.equal(countScale(1080, 6).ticks[1]?.place, 200 / 1080);
});
