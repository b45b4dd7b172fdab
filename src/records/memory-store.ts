/** Records in memory, gone with the process. */
import { Ledger } from "./ledger.js";
import { type RecordBounds, type RecordKey, type RecordStore, recordDefaults, requireFit } from "./store.js";

/** `now` in milliseconds since 1970. */
export function memoryStore(given: Partial<RecordBounds> = {}, now: () => number = Date.now): RecordStore {
  const bounds = { ...recordDefaults, ...given };
  const ledger = new Ledger(bounds);
  const texts = new Map<string, Buffer>();
  let dropped = 0;
  const settle = (): void => {
    for (const entry of ledger.settle(now())) {
      texts.delete(nameOf(entry));
      dropped++;
    }
  };
  return {
    get: async (key) => {
      settle();
      return texts.get(nameOf(key))?.toString() ?? null;
    },
    put: async (key, text) => {
      const bytes = Buffer.from(text);
      requireFit(bytes.length, bounds);
      texts.set(nameOf(key), bytes);
      ledger.set(key, bytes.length, now());
      settle();
    },
    remove: async (key) => {
      settle();
      ledger.remove(key);
      return texts.delete(nameOf(key));
    },
    stats: () => {
      settle();
      return { records: ledger.records, bytes: ledger.bytes, dropped };
    },
    [Symbol.asyncDispose]: async () => texts.clear(),
  };
}

const nameOf = ({ owner, id }: RecordKey): string => `${owner}/${id}`;
