/**
 * An offline run that `wandb sync` uploads: a folder `offline-run-*` with a log of wandb's records, in LevelDB's framing. Scalars
 * only.
 */
import { randomInt } from "node:crypto";
import { type FileHandle, mkdir, open, rename } from "node:fs/promises";
import { join } from "node:path";
import { namesIn } from "../../base/durable.js";
import { crc32 } from "./crc.js";
import { bytes, message, varint } from "./protobuf.js";
import type { ScalarFile, Scalars } from "./scalars.js";

export interface WandbRun {
  readonly name: string;
  /** Shown as the run's configuration. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Metrics from before the run was resumed, in ascending steps. */
  readonly past: readonly (readonly [step: number, scalars: Scalars])[];
}

/** Creates the run's log in the folder, or rewrites it, so that a resumed run stays one run. */
export async function openWandbRun(
  folder: string,
  { name, config, past }: WandbRun,
  now: () => number = Date.now,
): Promise<ScalarFile> {
  const found = (await namesIn(folder)).find((entry) => entry.startsWith("offline-run-"));
  const directory = found ?? `offline-run-${stamp(now())}-${newId()}`;
  const id = directory.slice(directory.lastIndexOf("-") + 1);
  await mkdir(join(folder, directory), { recursive: true });
  const path = join(folder, directory, `run-${id}.wandb`);
  const log = await RecordLog.create(`${path}.draft`);
  const history = new History(log);
  await log.add(field.header, bytes(1, message(bytes(1, "lorikeet"), bytes(2, "0.15.0"))));
  await log.add(field.run, runFields(id, name, config, now()));
  for (const [step, scalars] of past) await history.add(step, scalars);
  await rename(`${path}.draft`, path); // the open file moves with its name
  return {
    add: (step, scalars) => history.add(step, scalars),
    async [Symbol.asyncDispose]() {
      await history.end();
      await log.close();
    },
  };
}

/** Fields of wandb's Record message. */
const field = { history: 2, summary: 3, run: 17, exit: 18, header: 21, footer: 22 } as const;

const stamp = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "_");
const newId = (): string => Array.from({ length: 8 }, () => randomInt(36).toString(36)).join("");

function runFields(id: string, name: string, config: WandbRun["config"], ms: number): Buffer {
  const items = Object.entries(config).map(([key, value]) => bytes(1, item(key, value)));
  const started = varint(1, Math.floor(ms / 1000));
  return message(bytes(1, id), bytes(3, "lorikeet"), bytes(4, message(...items)), bytes(8, name), bytes(17, started));
}

const item = (key: string, value: unknown): Buffer => message(bytes(1, key), bytes(16, JSON.stringify(value)));

/** One record per step: wandb accepts a step only once, and a validation follows its step's loss. */
class History {
  readonly #log: RecordLog;
  #step = 0;
  #scalars: Scalars = {};
  #summary: Scalars = {};

  constructor(log: RecordLog) {
    this.#log = log;
  }

  async add(step: number, scalars: Scalars): Promise<void> {
    if (step !== this.#step) await this.#flush();
    this.#step = step;
    this.#scalars = { ...this.#scalars, ...scalars };
  }

  /** Ends the run with its last values. */
  async end(): Promise<void> {
    await this.#flush();
    const items = Object.entries(this.#summary).map(([key, value]) => bytes(1, item(key, value)));
    await this.#log.add(field.summary, message(...items));
    await this.#log.add(field.exit, varint(1, 0));
    await this.#log.add(field.footer, Buffer.alloc(0));
  }

  async #flush(): Promise<void> {
    if (Object.keys(this.#scalars).length === 0) return;
    const all = { ...this.#scalars, _step: this.#step };
    const items = Object.entries(all).map(([key, value]) => bytes(1, item(key, value)));
    await this.#log.add(field.history, message(...items, bytes(2, varint(1, this.#step))));
    this.#summary = { ...this.#summary, ...all };
    this.#scalars = {};
  }
}

const blockBytes = 32_768;
const headBytes = 7;
/** ":W&B", a magic number and the version. */
const magic = Buffer.from([0x3a, 0x57, 0x26, 0x42, 0xe1, 0xbe, 0]);
const kinds = { full: 1, first: 2, middle: 3, last: 4 } as const;

/** Splits records into chunks within blocks. Each chunk starts with checksum, length and type. */
class RecordLog {
  readonly #file: FileHandle;
  #offset = magic.length;
  #count = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async create(path: string): Promise<RecordLog> {
    const file = await open(path, "w");
    await file.write(magic);
    return new RecordLog(file);
  }

  /** A wandb record with one field. */
  async add(number: number, value: Uint8Array): Promise<void> {
    const data = message(varint(1, ++this.#count), bytes(number, value));
    const parts: Buffer[] = [];
    for (let at = 0, isFirst = true; isFirst || at < data.length; isFirst = false) {
      const left = blockBytes - (this.#offset % blockBytes);
      if (left < headBytes) {
        parts.push(Buffer.alloc(left));
        this.#offset += left;
      }
      const room = blockBytes - (this.#offset % blockBytes) - headBytes;
      const chunk = data.subarray(at, at + room);
      at += chunk.length;
      const isLast = at >= data.length;
      const kind = isFirst ? (isLast ? kinds.full : kinds.first) : isLast ? kinds.last : kinds.middle;
      parts.push(chunkHead(kind, chunk), chunk);
      this.#offset += headBytes + chunk.length;
    }
    await this.#file.write(Buffer.concat(parts));
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function chunkHead(kind: number, chunk: Uint8Array): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUInt32LE(crc32(Buffer.concat([Buffer.from([kind]), chunk])));
  head.writeUInt16LE(chunk.length, 4);
  head.writeUInt8(kind, 6);
  return head;
}
