/** A page of a list, as OpenAI's cursors ask for it. */
import { LorikeetError } from "../../base/errors.js";

export interface PageQuery {
  readonly limit: number;
  readonly order: "asc" | "desc";
  /** The id of the last item of the page before; null: the first page. */
  readonly after: string | null;
  readonly purpose: string | null;
  /** Pairs that a job's metadata must have. */
  readonly metadata: ReadonlyMap<string, string>;
}

export interface PageRules {
  readonly limit: number;
  readonly maxLimit: number;
  /** Parameters besides `limit` and `after`. */
  readonly also: readonly ("order" | "purpose" | "metadata")[];
}

/** Throws LorikeetError `invalid_value` with every fault of the query. */
export function readPageQuery(query: URLSearchParams, { limit: most, maxLimit, also }: PageRules): PageQuery {
  const faults: string[] = [];
  const metadata = new Map<string, string>();
  const known = ["limit", "after", ...also];
  for (const [name, value] of query) {
    const [, key] = /^metadata\[(.+)\]$/.exec(name) ?? [];
    if (key !== undefined && also.includes("metadata")) metadata.set(key, value);
    else if (!known.includes(name)) faults.push(`Only ${known.map((each) => `\`${each}\``).join(", ")} may be given.`);
  }
  const digits = query.get("limit") ?? String(most);
  const limit = /^\d{1,6}$/.test(digits) ? Number(digits) : 0;
  if (limit < 1 || limit > maxLimit) faults.push(`\`limit\` must be an integer from 1 to ${maxLimit}.`);
  const order = query.get("order") ?? "desc";
  if (order !== "asc" && order !== "desc") faults.push('`order` must be "asc" or "desc".');
  if (faults.length > 0) throw new LorikeetError("invalid_value", [...new Set(faults)].join(" "), { faults });
  return {
    limit,
    order: order === "asc" ? "asc" : "desc",
    after: query.get("after") || null,
    purpose: query.get("purpose"),
    metadata,
  };
}

/** The items of a page, of those given oldest first. Throws LorikeetError `invalid_value` if there is no item `after`. */
export function pageOf<Item extends { readonly id: string }>(
  items: readonly Item[],
  { limit, order, after }: PageQuery,
): { readonly data: Item[]; readonly has_more: boolean } {
  const ordered = order === "asc" ? items : items.toReversed();
  const before = after === null ? -1 : ordered.findIndex(({ id }) => id === after);
  if (after !== null && before < 0) {
    throw new LorikeetError("invalid_value", "`after` is not the id of an item of this list.", { param: "after" });
  }
  const end = before + 1 + limit;
  return { data: ordered.slice(before + 1, end), has_more: end < ordered.length };
}
