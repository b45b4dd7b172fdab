/**
 * Records in a folder, as a LevelDB database: a write is atomic and survives a crash. One process at a time has the folder open.
 * Under `text/<owner>/<id>` lies a record, under `note/<createdAt>/<owner>/<id>` its size, so that opening reads no texts.
 */
import { ClassicLevel } from "classic-level";
import { Semaphore } from "../base/async.js";
import { LorikeetError } from "../base/errors.js";
import { makeFolders } from "../base/files.js";
import { Ledger } from "./ledger.js";
import {
  type RecordBounds,
  type RecordKey,
  type RecordStats,
  type RecordStore,
  recordDefaults,
  requireFit,
} from "./store.js";

type Operation =
  | { readonly type: "put"; readonly key: string; readonly value: string }
  | { readonly type: "del"; readonly key: string };

/** How often records that are too old are removed, besides at every write. */
const sweepMs = 3_600_000;

/** Throws LorikeetError `conflict` if another process has the folder open, `store_full`, or `records_damaged`. */
export async function openLevelStore(
  folder: string,
  given: Partial<RecordBounds> = {},
  now: () => number = Date.now,
): Promise<RecordStore> {
  const bounds = { ...recordDefaults, ...given };
  await makeFolders(folder).catch((error: unknown) => {
    throw asRecordFault(error, folder);
  });
  const database = new ClassicLevel(folder);
  try {
    await database.open();
    const ledger = new Ledger(bounds);
    for await (const [key, bytes] of database.iterator({ gt: "note/", lt: "note0" })) {
      const [, createdAt, owner, id] = key.split("/");
      if (owner !== undefined && id !== undefined) ledger.set({ owner, id }, Number(bytes), Number(createdAt));
    }
    const store = new LevelStore(database, ledger, bounds, now);
    await store.sweep();
    return store;
  } catch (error) {
    await database.close().catch(() => {});
    throw asRecordFault(error, folder);
  }
}

class LevelStore implements RecordStore {
  readonly #database: ClassicLevel;
  readonly #ledger: Ledger;
  readonly #bounds: RecordBounds;
  readonly #now: () => number;
  /** Writes run one after another, so that the ledger says what is on disk. */
  readonly #writing = new Semaphore(1);
  readonly #sweeping: NodeJS.Timeout;
  #dropped = 0;
  /** The fault of the last write. LevelDB takes no other one until it is opened again, which a full disk prevents. */
  #fault: LorikeetError | null = null;

  constructor(database: ClassicLevel, ledger: Ledger, bounds: RecordBounds, now: () => number) {
    this.#database = database;
    this.#ledger = ledger;
    this.#bounds = bounds;
    this.#now = now;
    this.#sweeping = setInterval(() => void this.sweep().catch(() => {}), sweepMs).unref();
  }

  async get(key: RecordKey): Promise<string | null> {
    const entry = this.#ledger.get(key);
    if (!entry || this.#now() - entry.createdAt >= this.#bounds.maxAgeMs) return null;
    try {
      return (await this.#database.get(textKey(key))) ?? null;
    } catch (error) {
      throw this.#fault ?? asRecordFault(error, this.#database.location);
    }
  }

  put(key: RecordKey, text: string): Promise<void> {
    return this.#writing.run(async () => {
      const bytes = Buffer.byteLength(text);
      requireFit(bytes, this.#bounds);
      const createdAt = this.#ledger.get(key)?.createdAt ?? this.#now();
      await this.#write([
        { type: "put", key: textKey(key), value: text },
        { type: "put", key: noteKey({ ...key, createdAt }), value: String(bytes) },
      ]);
      this.#ledger.set(key, bytes, createdAt);
      await this.#settle();
    });
  }

  remove(key: RecordKey): Promise<boolean> {
    return this.#writing.run(async () => {
      const entry = this.#ledger.get(key);
      if (!entry) return false;
      await this.#write(deletions([entry]));
      this.#ledger.remove(key);
      return true;
    });
  }

  /** Removes what is past a bound. */
  sweep(): Promise<void> {
    return this.#writing.run(() => this.#settle());
  }

  stats(): RecordStats {
    return { records: this.#ledger.records, bytes: this.#ledger.bytes, dropped: this.#dropped };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweeping);
    await this.#writing.run(() => this.#database.close());
  }

  async #settle(): Promise<void> {
    const dropped = this.#ledger.settle(this.#now());
    if (dropped.length === 0) return;
    this.#dropped += dropped.length;
    await this.#write(deletions(dropped));
  }

  async #write(operations: Operation[]): Promise<void> {
    try {
      if (this.#fault) {
        await this.#database.close();
        await this.#database.open();
        this.#fault = null;
      }
      await this.#database.batch(operations, { sync: true });
    } catch (error) {
      this.#fault = asRecordFault(error, this.#database.location);
      throw this.#fault;
    }
  }
}

const textKey = ({ owner, id }: RecordKey): string => `text/${owner}/${id}`;

const noteKey = ({ owner, id, createdAt }: RecordKey & { readonly createdAt: number }): string =>
  `note/${String(createdAt).padStart(16, "0")}/${owner}/${id}`;

const deletions = (entries: readonly (RecordKey & { readonly createdAt: number })[]): Operation[] =>
  entries.flatMap((entry) => [
    { type: "del", key: textKey(entry) },
    { type: "del", key: noteKey(entry) },
  ]);

/** LevelDB's errors in our words. Its own words may name files, so they are for the operator. */
export function asRecordFault(error: unknown, folder: string): LorikeetError {
  if (error instanceof LorikeetError) return error;
  const { texts, codes } = chainOf(error);
  const operator = `${folder}: ${texts.join(": ")}`;
  if (codes.includes("LEVEL_LOCKED")) {
    return new LorikeetError("conflict", "Another process has the folder of stored responses open.", {
      operator,
      cause: error,
    });
  }
  if (/no space left|quota exceeded/i.test(operator)) {
    return new LorikeetError("store_full", "The disk of the stored responses is full.", { operator, cause: error });
  }
  return new LorikeetError("records_damaged", "The stored responses cannot be read or written.", {
    operator,
    cause: error,
  });
}

/** An error and its causes. */
function chainOf(error: unknown): { readonly texts: string[]; readonly codes: unknown[] } {
  const texts: string[] = [];
  const codes: unknown[] = [];
  for (let each = error; each instanceof Error; each = each.cause) {
    texts.push(each.message);
    if ("code" in each) codes.push(each.code);
  }
  return { texts, codes };
}
