/** Stored responses: each with the items that it was generated from, for the owner that asked for it. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { LorikeetError } from "../../base/errors.js";
import { isObject } from "../../base/json.js";
import type { RecordStats, RecordStore } from "../../records/store.js";
import { isResponseId, responseIdOf } from "./ids.js";
import type { Item } from "./items.js";
import type { ResponseObject } from "./response.js";

export interface StoredResponse {
  readonly response: ResponseObject;
  /** Everything that it was generated from, items of earlier responses included. */
  readonly items: readonly Item[];
}

export class ResponseArchive {
  readonly #records: RecordStore;

  constructor(records: RecordStore) {
    this.#records = records;
  }

  /** Log-probabilities are stored if there are few. Throws what the records throw. */
  async put(owner: string, { response, items }: StoredResponse): Promise<void> {
    const output = response.output.map((item) =>
      item.type === "message"
        ? { ...item, content: item.content.map((part) => ({ ...part, logprobs: storable(part.logprobs) })) }
        : item,
    );
    await this.#records.put({ owner, id: response.id }, JSON.stringify({ response: { ...response, output }, items }));
  }

  /** null if the owner has no such response. Throws what the records throw. */
  async find(owner: string, id: string): Promise<StoredResponse | null> {
    if (!isResponseId(id)) return null;
    const text = await this.#records.get({ owner, id });
    return text === null ? null : JSON.parse(text);
  }

  /**
   * Finds items of an owner's stored responses by their ids; null where there is none. Each response is read once, and other requests run
   * between two of them.
   */
  itemFinder(owner: string): (id: string) => Promise<Item | null> {
    const read = new Map<string, ReadonlyMap<string, Item>>();
    return async (id) => {
      const responseId = responseIdOf(id) ?? "";
      const known = read.get(responseId);
      if (known) return known.get(id) ?? null;
      const stored = await this.find(owner, responseId);
      const items = stored ? [...stored.items, ...stored.response.output] : [];
      read.set(responseId, new Map(items.map((item) => [item.id, item])));
      await nextTurn();
      return read.get(responseId)?.get(id) ?? null;
    };
  }

  remove(owner: string, id: string): Promise<boolean> {
    return isResponseId(id) ? this.#records.remove({ owner, id }) : Promise.resolve(false);
  }

  stats(): RecordStats {
    return this.#records.stats();
  }
}

/** Tokens and alternatives of a text whose log-probabilities are stored: more of them would be written, and read, in one long turn. */
const mostStoredLogprobs = 8_192;

/** All of them, or none. */
function storable(logprobs: Iterable<unknown>): readonly unknown[] {
  const kept: unknown[] = [];
  let entries = 0;
  for (const entry of logprobs) {
    entries += 1 + (isObject(entry) && Array.isArray(entry.top_logprobs) ? entry.top_logprobs.length : 0);
    if (entries > mostStoredLogprobs) return [];
    kept.push(entry);
  }
  return kept;
}

export function responseNotFound(): LorikeetError {
  const message =
    "There is no stored response with this id: it was not stored, was deleted, or was dropped to make room.";
  return new LorikeetError("response_not_found", message, { param: "response_id" });
}
