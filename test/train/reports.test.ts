/** Reports of a run, read as TensorBoard and wandb frame them: each record whole, checked and in order, also after a resume. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { crc32, crc32c } from "../../src/train/reports/crc.js";
import type { JournalRow } from "../../src/train/reports/journal.js";
import { openReports, reportsFolder } from "../../src/train/reports/reports.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-reports-"));
after(() => rmSync(folder, { recursive: true }));

type Field = readonly [number: number, value: number | Buffer];

/** A message's fields: whole numbers and floats as numbers, all else as bytes. */
function fieldsOf(data: Buffer): Field[] {
  const out: Field[] = [];
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = data[at++] ?? 0;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const key = number();
    const [field, kind] = [key >> 3, key & 7];
    if (kind === 0) out.push([field, number()]);
    else {
      const length = kind === 1 ? 8 : kind === 5 ? 4 : number();
      const value = data.subarray(at, at + length);
      out.push([field, kind === 1 ? value.readDoubleLE() : kind === 5 ? value.readFloatLE() : value]);
      at += length;
    }
  }
  assert.equal(at, data.length);
  return out;
}

const all = (data: Buffer, field: number): Buffer[] =>
  fieldsOf(data).flatMap(([number, value]) => (number === field && Buffer.isBuffer(value) ? [value] : []));
const one = (data: Buffer, field: number) => fieldsOf(data).find(([number]) => number === field)?.[1];

function tfRecords(file: string): Buffer[] {
  const data = readFileSync(file);
  const unmasked = (at: number): number => {
    const rotated = (data.readUInt32LE(at) - 0xa282ead8) >>> 0;
    return ((rotated << 15) | (rotated >>> 17)) >>> 0;
  };
  const out: Buffer[] = [];
  for (let at = 0; at < data.length; ) {
    const length = Number(data.readBigUInt64LE(at));
    assert.equal(unmasked(at + 8), crc32c(data.subarray(at, at + 8)));
    const body = data.subarray(at + 12, at + 12 + length);
    assert.equal(unmasked(at + 12 + length), crc32c(body));
    out.push(body);
    at += 16 + length;
  }
  return out;
}

/** The records of a log in blocks of 32 KiB, put together from their chunks. */
function logRecords(file: string): Buffer[] {
  const data = readFileSync(file);
  assert.deepEqual([...data.subarray(0, 7)], [0x3a, 0x57, 0x26, 0x42, 0xe1, 0xbe, 0]);
  const out: Buffer[] = [];
  let parts: Buffer[] = [];
  for (let at = 7; at < data.length; ) {
    const left = 32_768 - (at % 32_768);
    if (left < 7) {
      at += left;
      continue;
    }
    const [length, kind] = [data.readUInt16LE(at + 4), data[at + 6] ?? 0];
    assert.ok(length + 7 <= left, "a chunk lies within its block");
    const chunk = data.subarray(at + 7, at + 7 + length);
    assert.equal(data.readUInt32LE(at), crc32(Buffer.concat([Buffer.from([kind]), chunk])));
    assert.equal(parts.length === 0, kind === 1 || kind === 2);
    parts.push(chunk);
    if (kind === 1 || kind === 4) {
      out.push(Buffer.concat(parts));
      parts = [];
    }
    at += 7 + length;
  }
  assert.equal(parts.length, 0);
  return out;
}

const stepRow = (step: number): JournalRow => ({
  ...{ step, loss: 1 / step, learning_rate: 0.001, gradient_norm: 2, tokens: 64, seconds: 0.1 },
});

test("checksums match published values", () => {
  assert.equal(crc32(Buffer.from("123456789")), 0xcbf43926);
  assert.equal(crc32c(Buffer.from("123456789")), 0xe3069283);
});

test("a run stopped at step 900 and resumed from 700 is reported once and completely", async () => {
  // Wide enough that records cross blocks, and that some end just before one ends.
  const config = { rank: 8, long: "x".repeat(40_000) };
  const run = { folder, name: "plays", config, step: 0, past: [] as JournalRow[] };
  const first: JournalRow = { step: 0, validation_loss: 3 };
  {
    await using reports = await openReports(["tensorboard", "wandb"], run);
    await reports.add(first);
    for (let step = 1; step <= 900; step++) await reports.add(stepRow(step));
  }
  const past = [first, ...Array.from({ length: 700 }, (_, i) => stepRow(i + 1))];
  {
    await using reports = await openReports(["tensorboard", "wandb"], { ...run, step: 700, past });
    for (let step = 701; step <= 1000; step++) await reports.add(stepRow(step));
    await reports.add({ step: 1000, validation_loss: 0.5, validation_margin: 0.25, validation_accuracy: 1 });
  }
  const names = readdirSync(join(folder, reportsFolder)).sort();
  const [early = "", late = "", wandb = "", ...others] = names;
  assert.deepEqual(others, []);
  assert.match(
    `${early} ${late} ${wandb}`,
    /^events\.out\.tfevents\.\d{10}\.\S+ events\.out\S+ offline-run-\d{8}_\d{6}-\w{8}$/,
  );

  const events = [early, late].map((name) => tfRecords(join(folder, reportsFolder, name)));
  for (const [head] of events) assert.equal(String(one(head as Buffer, 3)), "brain.Event:2");
  assert.deepEqual([events[0]?.length, events[1]?.length], [902, 303]);
  const start = events[1]?.[1] as Buffer;
  assert.deepEqual([one(start, 2), one(one(start, 7) as Buffer, 1)], [701, 1], "TensorBoard forgets from step 701 on");
  const last = events[1]?.at(-1) as Buffer;
  const values = all(one(last, 5) as Buffer, 1).map((value) => [String(one(value, 1)), one(value, 2)]);
  assert.deepEqual(values, [
    ["eval/loss", 0.5],
    ["eval/rewards/margins", 0.25],
    ["eval/rewards/accuracies", 1],
  ]);
  assert.ok(Math.abs(Number(one(last, 1)) - Date.now() / 1000) < 60, "the time of day in seconds");

  const id = wandb.slice(-8);
  const records = logRecords(join(folder, reportsFolder, wandb, `run-${id}.wandb`));
  assert.deepEqual(
    records.map((record) => one(record, 1)),
    records.map((_, i) => i + 1),
  );
  const runRecord = one(records[1] as Buffer, 17) as Buffer;
  assert.deepEqual([String(one(runRecord, 1)), String(one(runRecord, 8))], [id, "plays"]);
  const history = records.flatMap((record) => all(record, 2));
  const items = (record: Buffer, field = 1): Record<string, number> =>
    Object.fromEntries(all(record, field).map((item) => [String(one(item, 1)), JSON.parse(String(one(item, 16)))]));
  assert.deepEqual(
    history.map((record) => items(record)._step),
    Array.from({ length: 1001 }, (_, step) => step),
  );
  assert.deepEqual(items(history[500] as Buffer)["train/loss"], 1 / 500);
  const { _step, ...end } = items(history.at(-1) as Buffer);
  assert.deepEqual([_step, end["train/loss"], end["eval/loss"]], [1000, 0.001, 0.5], "one record for each step");
  const [summary] = records.flatMap((record) => all(record, 3));
  assert.deepEqual(items(summary as Buffer)["eval/loss"], 0.5);
});
