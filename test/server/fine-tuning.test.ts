/** Files and fine-tuning jobs over HTTP: the `openai` client unchanged, OpenAI's schemas, keys, and bodies that are wrong. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import OpenAI, { toFile } from "openai";
import { Uploads, uploadDefaults } from "../../src/adapter/upload/upload.js";
import { LorikeetError } from "../../src/base/errors.js";
import { FineTuning } from "../../src/gateway/fine-tuning/fine-tuning.js";
import { receiveFile } from "../../src/gateway/fine-tuning/receive-file.js";
import { fakeTrainer, openTuning, type Tuning } from "../support/fake-trainer.js";
import { withFaults } from "../support/faulty-files.js";
import { openServerRig, type ServerRig, until } from "../support/rig.js";

const document: object = JSON.parse(readFileSync("test/fixtures/openai/schemas.json", "utf8"));
const ajv = new Ajv2020({ strict: false, allErrors: false });
ajv.addSchema(document, "openai");

/** Fails unless the value is valid by OpenAI's schema of this name. */
function check(name: string, value: unknown): void {
  const validate = ajv.getSchema(`openai#/$defs/${name}`);
  assert.ok(validate, `the specification has ${name}`);
  assert.ok(validate(value), `${name}: ${ajv.errorsText(validate.errors)} in ${JSON.stringify(value)}`);
}

const keys = ["key-of-one", "key-of-two"] as const;
const rows = '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'.repeat(30);

let tuning: Tuning;
let rig: ServerRig;
let client: OpenAI;
let other: OpenAI;
before(async () => {
  tuning = await openTuning({ trainer: fakeTrainer(["base", "alias"]) });
  const limits = { receivedBytes: 100_000 };
  const fineTuning = new FineTuning({ ...tuning, uploads: new Uploads(), limits });
  rig = await openServerRig({ apiKeys: keys, fineTuning });
  const [first, second] = keys.map((apiKey) => new OpenAI({ baseURL: `${rig.url}/v1`, apiKey, maxRetries: 0 }));
  assert.ok(first && second);
  [client, other] = [first, second];
});
after(async () => {
  await rig[Symbol.asyncDispose]();
  await tuning[Symbol.asyncDispose]();
});

const upload = async (text = rows, name = "rows.jsonl") =>
  client.files.create({ file: await toFile(Buffer.from(text), name), purpose: "fine-tune" });

const get = async (path: string): Promise<unknown> =>
  (await fetch(rig.url + path, { headers: { authorization: `Bearer ${keys[0]}` } })).json();

const statusOf = (status: number, code?: string) => (error: unknown) =>
  error instanceof OpenAI.APIError && error.status === status && (code === undefined || error.code === code);

describe("files", () => {
  test("are uploaded, listed in pages, read back and deleted", async () => {
    const made = [await upload("1", "a.jsonl"), await upload("22", "Ünï ☃.jsonl"), await upload("333", "c.jsonl")];
    assert.deepEqual(
      made.map(({ bytes, filename, purpose }) => [bytes, filename, purpose]),
      [
        [1, "a.jsonl", "fine-tune"],
        [2, "Ünï ☃.jsonl", "fine-tune"],
        [3, "c.jsonl", "fine-tune"],
      ],
    );
    const listed: string[] = [];
    for await (const { id } of client.files.list({ limit: 2, order: "asc", purpose: "fine-tune" })) listed.push(id);
    assert.deepEqual(
      listed,
      made.map(({ id }) => id),
    );
    check("ListFilesResponse", await get("/v1/files"));
    check("ListFilesResponse", await get("/v1/files?purpose=user_data"));
    const [{ id } = { id: "" }] = made;
    check("OpenAIFile", await get(`/v1/files/${id}`));
    const content = await client.files.content(id);
    assert.equal(await content.text(), "1");
    assert.equal(content.headers.get("content-disposition"), "attachment");
    await assert.rejects(other.files.retrieve(id), statusOf(404, "file_not_found"));
    await assert.rejects(other.files.content(id), statusOf(404, "file_not_found"));
    await assert.rejects(other.files.delete(id), statusOf(404, "file_not_found"));
    for (const each of made) check("DeleteFileResponse", await client.files.delete(each.id));
    await assert.rejects(client.files.retrieve(id), statusOf(404, "file_not_found"));
    assert.deepEqual((await client.files.list()).data, []);
  });

  test("expire as their client says, within bounds", async () => {
    const file = await toFile(Buffer.from("1"), "a");
    const made = (seconds: number) =>
      client.files.create({ file, purpose: "user_data", expires_after: { anchor: "created_at", seconds } });
    const { created_at: created, expires_at: expires = 0, id } = await made(3600);
    assert.equal(expires - created, 3600);
    await client.files.delete(id);
    await assert.rejects(made(3599), statusOf(400, "invalid_value"));
  });

  test("are refused where the form is wrong, and leave nothing", async () => {
    const form = (fields: Readonly<Record<string, string | Blob>>) => {
      const body = new FormData();
      for (const [name, value] of Object.entries(fields)) body.set(name, value);
      return body;
    };
    const file = new Blob(["1"]);
    const cases: readonly (readonly [FormData | string, Record<string, string>, number, string])[] = [
      [form({ file }), {}, 400, "invalid_value"],
      [form({ purpose: "fine-tune" }), {}, 400, "invalid_value"],
      [form({ file, purpose: "assistants" }), {}, 400, "invalid_value"],
      [form({ file, purpose: "x".repeat(2000) }), {}, 400, "invalid_upload"],
      [form({ file, purpose: "fine-tune", more: "1" }), {}, 400, "invalid_upload"],
      [form({ file, purpose: "fine-tune", "expires_after[seconds]": "7200" }), {}, 400, "invalid_value"],
      [form({ file: new Blob(["x".repeat(200_000)]), purpose: "fine-tune" }), {}, 413, "too_large"],
      ["{}", { "content-type": "application/json" }, 415, "unsupported_media_type"],
      ["--x\r\n", { "content-type": "multipart/form-data; boundary=x" }, 400, "invalid_upload"],
      ["", { "content-type": "multipart/form-data" }, 400, "invalid_upload"],
    ];
    for (const [body, headers, status, code] of cases) {
      const response = await fetch(`${rig.url}/v1/files`, {
        method: "POST",
        headers: { authorization: `Bearer ${keys[0]}`, ...headers },
        body,
      });
      const { error } = JSON.parse(await response.text());
      assert.deepEqual([response.status, error.code], [status, code], error.message);
    }
    assert.deepEqual((await client.files.list()).data, []);
  });

  test("are refused as such where the disk is full", async () => {
    const open = (path: string) => (path.endsWith("content") ? "ENOSPC" : null);
    await withFaults({ open }, () => assert.rejects(upload(), statusOf(507, "store_full")));
    assert.deepEqual(await readdir(join(tuning.path, "files", "drafts")), []);
  });
});

test("any form is stored whole or refused as the client's fault, and leaves no draft", async () => {
  await using own = await openTuning();
  const line = fc.constantFrom(
    ...["--x", "--x--", "", "--y", "abc", '{"a":1}', "fine-tune", "7200"],
    ...["file", "purpose", "expires_after[seconds]", "config", "\u0000"].map(
      (name) => `content-disposition: form-data; name="${name}"; filename="../a"`,
    ),
  );
  const bytes = fc.oneof(
    fc.array(line, { maxLength: 24 }).map((lines) => Buffer.from(`--x\r\n${lines.join("\r\n")}\r\n--x--\r\n`)),
    fc.uint8Array({ maxLength: 200 }).map((each) => Buffer.from(each)),
  );
  const contentType = fc.constantFrom(
    "multipart/form-data; boundary=x",
    'multipart/form-data; boundary="x"',
    "multipart/form-data",
  );
  const never = new AbortController().signal;
  const check = async (body: Buffer, type: string): Promise<void> => {
    const upload = {
      body: Readable.from([body.subarray(0, 9), body.subarray(9)].filter(({ length }) => length > 0)),
      contentType: type,
    };
    const kept = await receiveFile(own.files, "me", upload, uploadDefaults, never).catch((error: unknown) => {
      assert.ok(error instanceof LorikeetError && error.status >= 400 && error.status < 500, String(error));
      return null;
    });
    if (kept !== null) assert.match(kept.filename, /^[^/\\]+$/);
    assert.deepEqual(await readdir(join(own.path, "files", "drafts")), []);
  };
  await fc.assert(fc.asyncProperty(bytes, contentType, check), { numRuns: 60 });
});

describe("jobs", () => {
  test("run, report and publish what a client can name by its alias, until it deletes it", async () => {
    const { id: file } = await upload();
    const created = await client.fineTuning.jobs.create({
      ...{ model: "alias", training_file: file, validation_file: file, suffix: "mine", seed: 7 },
      metadata: { team: "a" },
      method: { type: "supervised", supervised: { hyperparameters: { n_epochs: "auto", batch_size: 2 } } },
    });
    check("FineTuningJob", await get(`/v1/fine_tuning/jobs/${created.id}`));
    assert.deepEqual([created.status, created.seed, created.metadata], ["queued", 7, { team: "a" }]);
    await until(() => tuning.trainer.processes.length === 1, "a process");
    tuning.trainer.processes[0]?.succeed();
    await until(() => tuning.jobs.stats().byStatus.succeeded === 1, "the end");
    const job = await client.fineTuning.jobs.retrieve(created.id);
    check("FineTuningJob", job);
    const model = job.fine_tuned_model ?? "";
    assert.match(model, /^ft:base:lorikeet:mine:[0-9a-f]{12}$/);
    const [name] = tuning.trainer.published[0] ?? [""];
    await rig.adapters.add(name);
    const chat = await client.chat.completions.create({ model, messages: [{ role: "user", content: "hi" }] });
    assert.equal(chat.model, model);
    assert.equal((await client.responses.create({ model, input: "hi" })).model, model);
    assert.equal((await client.models.retrieve(model)).id, model);
    assert.deepEqual(await client.models.delete(model), { id: model, object: "model", deleted: true });
    await assert.rejects(client.models.retrieve(model), statusOf(404, "model_not_found"));
    const messages: string[] = [];
    for await (const event of client.fineTuning.jobs.listEvents(created.id, { limit: 2 })) messages.push(event.message);
    assert.equal(messages[0], "The job has successfully completed");
    assert.equal(messages.at(-1), `Created fine-tuning job: ${created.id}`);
    check("ListFineTuningJobEventsResponse", await get(`/v1/fine_tuning/jobs/${created.id}/events?limit=100`));
    check("ListFineTuningJobCheckpointsResponse", await get(`/v1/fine_tuning/jobs/${created.id}/checkpoints`));
    check("ListPaginatedFineTuningJobsResponse", await get("/v1/fine_tuning/jobs"));
    const found = await client.fineTuning.jobs.list({ metadata: { team: "b" } });
    assert.deepEqual(found.data, []);
    const metrics = await (
      await fetch(`${rig.url}/metrics`, { headers: { authorization: `Bearer ${keys[0]}` } })
    ).text();
    assert.match(metrics, /^lorikeet_fine_tuning_jobs\{status="succeeded"\} 1$/m);
    for (const each of ["retrieve", "cancel", "pause", "resume", "listEvents"] as const) {
      await assert.rejects(other.fineTuning.jobs[each](created.id), statusOf(404, "job_not_found"));
    }
    await assert.rejects(client.fineTuning.jobs.cancel(created.id), statusOf(409, "conflict"));
  });

  test("of preferences have a beta, pause, resume and are cancelled", async () => {
    const { id: file } = await upload();
    const { id, method } = await client.fineTuning.jobs.create({
      ...{ model: "base", training_file: file },
      method: { type: "dpo", dpo: { hyperparameters: { beta: 0.2 } } },
    });
    assert.equal(method?.dpo?.hyperparameters?.beta, 0.2);
    assert.equal((await client.fineTuning.jobs.pause(id)).status, "paused");
    assert.match((await client.fineTuning.jobs.resume(id)).status, /^(queued|validating_files)$/);
    const cancelled = await client.fineTuning.jobs.cancel(id);
    check("FineTuningJob", cancelled);
    assert.equal(cancelled.status, "cancelled");
  });

  test("are refused with every fault of the body", async () => {
    const { id: file } = await upload();
    const asked = { model: "base", training_file: file };
    const cases: readonly (readonly [object, number, RegExp])[] = [
      [{}, 400, /`model` is required.*`training_file` is required/],
      [{ ...asked, training_file: "../x" }, 400, /`training_file` must be the id of an uploaded file/],
      [{ ...asked, training_file: "file-0" }, 404, /no file with this id/],
      [{ ...asked, model: "nope" }, 404, /`model` is not a base that can be fine-tuned; available: `base`/],
      [{ ...asked, task: "image-classification" }, 400, /jobs train the base `base` for text-generation/],
      [{ ...asked, task: 3 }, 400, /`task` must be the name of a task/],
      [{ ...asked, suffix: "a b" }, 400, /`suffix` must be/],
      [{ ...asked, seed: -1 }, 400, /`seed` must be/],
      [{ ...asked, hyperparameters: { n_epochs: 51 } }, 400, /n_epochs` must be "auto" or an integer from 1 to 50/],
      [{ ...asked, hyperparameters: { epochs: 1 } }, 400, /`hyperparameters.epochs` is not supported/],
      [{ ...asked, hyperparameters: 3 }, 400, /`hyperparameters` must be an object/],
      [{ ...asked, method: {} }, 400, /`method.type` is required/],
      [{ ...asked, method: { type: "reinforcement" } }, 400, /`method.type` must be .*found "reinforcement"/],
      [
        { ...asked, method: { type: "reinforcement", reinforcement: { grader: {} } } },
        400,
        /`method.reinforcement` is not supported/,
      ],
      [{ ...asked, method: { type: "dpo", supervised: {} } }, 400, /`method.supervised` may be given only where/],
      [
        { ...asked, integrations: [{ type: "wandb", wandb: { project: "x" } }] },
        400,
        /`integrations` is not supported/,
      ],
      [{ ...asked, metadata: { a: 1 } }, 400, /`metadata` must be/],
      [[], 400, /must be a JSON object/],
    ];
    for (const [body, status, message] of cases) {
      const response = await fetch(`${rig.url}/v1/fine_tuning/jobs`, {
        method: "POST",
        headers: { authorization: `Bearer ${keys[0]}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      const { error } = JSON.parse(await response.text());
      assert.equal(response.status, status, error.message);
      assert.match(error.message, message);
    }
    for (const path of [
      "/v1/fine_tuning/jobs?limit=0",
      "/v1/fine_tuning/jobs?after=x",
      "/v1/files?order=up",
      "/v1/files?x=1",
    ]) {
      check("ErrorResponse", await get(path));
    }
  });
});

test("every route needs a key, and says that it is off where it is", async () => {
  await using off = await openServerRig();
  const paths = ["/v1/files", "/v1/files/file-0", "/files/file-0/content", "/v1/fine_tuning/jobs"];
  for (const path of [...paths, "/v1/fine_tuning/jobs/ftjob-0/events", "/v1/fine_tuning/jobs/ftjob-0/checkpoints"]) {
    assert.equal((await fetch(rig.url + path)).status, 401, path);
    const response = await fetch(off.url + path);
    const { error } = JSON.parse(await response.text());
    assert.deepEqual([response.status, error.code], [404, "route_not_found"]);
    assert.match(error.message, /--fine-tuning/);
  }
  for (const path of ["/v1/files", "/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/x/cancel"]) {
    assert.equal((await fetch(rig.url + path, { method: "POST" })).status, 401, path);
  }
});
