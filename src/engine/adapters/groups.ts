/** Rows to adapter groups and back, as the index tensors of one rank class. Integers only. */

import { at } from "../../base/list.js";

export interface GroupIndices {
  readonly members: number;
  /** [groups * members]: the row that each member reads. */
  readonly toGroups: Int32Array<ArrayBuffer>;
  /** [taken, 3]: (group, 0, member) of each row that has a group. */
  readonly products: BigInt64Array<ArrayBuffer>;
  /** [taken]: those rows, ascending. */
  readonly rows: BigInt64Array<ArrayBuffer>;
}

/**
 * `rowGroups[i]` is row i's group, or -1 for none of this class. Short groups are padded with row 0, whose product is
 * not used. `minMembers` 2 keeps a row's bits independent of its neighbours.
 */
export function groupRows(rowGroups: readonly number[], groups: number, minMembers: number): GroupIndices {
  const counts = new Array<number>(groups).fill(0);
  for (const group of rowGroups) if (group >= 0) counts[group] = at(counts, group) + 1;
  const members = Math.max(minMembers, 1, ...counts);
  const taken = counts.reduce((sum, count) => sum + count, 0);
  const toGroups = new Int32Array(groups * members);
  const products = new BigInt64Array(taken * 3);
  const rows = new BigInt64Array(taken);
  const filled = new Array<number>(groups).fill(0);
  let next = 0;
  for (const [row, group] of rowGroups.entries()) {
    if (group < 0) continue;
    const member = at(filled, group);
    filled[group] = member + 1;
    toGroups[group * members + member] = row;
    products.set([BigInt(group), 0n, BigInt(member)], next * 3);
    rows[next++] = BigInt(row);
  }
  return { members, toGroups, products, rows };
}
