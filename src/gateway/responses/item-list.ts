/** A page of the items that a response was generated from. */
import { LorikeetError } from "../../base/errors.js";
import type { Item } from "./items.js";

export interface ItemQuery {
  readonly limit: number;
  readonly order: "asc" | "desc";
  /** The id of the last item of the page before; null: the first page. */
  readonly after: string | null;
}

export interface ItemList {
  readonly object: "list";
  readonly data: readonly Item[];
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly has_more: boolean;
}

/** Throws LorikeetError `invalid_value` with every fault of the query. */
export function readItemQuery(query: URLSearchParams): ItemQuery {
  const faults: string[] = [];
  for (const name of new Set(query.keys())) {
    if (!["limit", "order", "after", "include", "include[]"].includes(name)) {
      faults.push("Only `limit`, `order`, `after` and `include` may be given.");
    }
  }
  const digits = query.get("limit") ?? "20";
  const limit = /^\d+$/.test(digits) ? Number(digits) : 0;
  if (limit < 1 || limit > 100) faults.push("`limit` must be an integer from 1 to 100.");
  const order = query.get("order") ?? "desc";
  if (order !== "asc" && order !== "desc") faults.push('`order` must be "asc" or "desc".');
  if (faults.length > 0) throw new LorikeetError("invalid_value", [...new Set(faults)].join(" "), { faults });
  return { limit, order: order === "asc" ? "asc" : "desc", after: query.get("after") };
}

/** Throws LorikeetError `invalid_value` if there is no item `after`. */
export function listItems(items: readonly Item[], { limit, order, after }: ItemQuery): ItemList {
  const ordered = order === "asc" ? items : [...items].reverse();
  const before = after === null ? -1 : ordered.findIndex(({ id }) => id === after);
  if (after !== null && before < 0) {
    throw new LorikeetError("invalid_value", "`after` is not the id of one of the response's items.", {
      param: "after",
    });
  }
  const data = ordered.slice(before + 1, before + 1 + limit);
  return {
    object: "list",
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: before + 1 + limit < ordered.length,
  };
}
