/** Rows to adapter groups and back, as the index tensors of one rank class. Integers only. */

export interface GroupIndices {
  readonly members: number;
  /** [groups * members]: the row that each member reads. */
  readonly toGroups: Int32Array<ArrayBuffer>;
  /** [rows]: where in [groups * members] each row's product lies. */
  readonly fromGroups: Int32Array<ArrayBuffer>;
  /** [groups * members]: 1 for a real member, 0 for padding. */
  readonly mask: Float32Array<ArrayBuffer>;
}

/**
 * `rowGroups[i]` is row i's group, or -1 for none of this class. Short groups are padded; a row without a group takes a
 * padded product, which the mask makes zero. `minMembers` 2 keeps a row's bits independent of its neighbours.
 */
export function groupRows(rowGroups: readonly number[], groups: number, minMembers: number): GroupIndices {
  const counts = new Array<number>(groups).fill(0);
  let strangers = false;
  for (const group of rowGroups) {
    if (group < 0) strangers = true;
    else counts[group] = (counts[group] ?? 0) + 1;
  }
  let members = Math.max(minMembers, 1, ...counts);
  if (strangers && counts.every((count) => count === members)) members++;
  const toGroups = new Int32Array(groups * members);
  const mask = new Float32Array(groups * members);
  const fromGroups = new Int32Array(rowGroups.length);
  const filled = new Array<number>(groups).fill(0);
  for (const [row, group] of rowGroups.entries()) {
    if (group < 0) continue;
    const member = filled[group] ?? 0;
    filled[group] = member + 1;
    const at = group * members + member;
    toGroups[at] = row;
    mask[at] = 1;
    fromGroups[row] = at;
  }
  const padding = mask.indexOf(0);
  for (const [row, group] of rowGroups.entries()) if (group < 0) fromGroups[row] = padding;
  return { members, toGroups, fromGroups, mask };
}
