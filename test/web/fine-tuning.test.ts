/** The page's side of fine-tuning: what it reads and sends, and what it shows of a file of rows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { errorOf, noAnswer } from "../../web/client/errors.js";
import { FineTuningClient, type JobEvent } from "../../web/client/fine-tuning.js";
import { readRows, suffixOf } from "../../web/training/rows.js";
import { samplesOf } from "../../web/training/sample-answers.js";

const request = {
  model: "base",
  suffix: "",
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

test("of a long file the beginning is shown, in whole rows where there are any", async () => {
  const rows = ['{"preferred_output":1}', "", '{"b":', "last"];
  assert.deepEqual(await readRows(new Blob([rows.join("\n")])), {
    count: 3,
    first: ['{\n  "preferred_output": 1\n}', '{"b":', "last"],
    isPreferences: true,
  });
  const long = "x".repeat(2 ** 20);
  assert.deepEqual(await readRows(new Blob(["1\n", long])), { count: null, first: ["1"], isPreferences: false });
  assert.deepEqual(await readRows(new Blob([long, long])), { count: null, first: [long], isPreferences: false });
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
