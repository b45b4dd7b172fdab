/** The assignment problem: a column for each row, all different, at the least total cost. */
import { at } from "../../base/list.js";

/** The column of each row; null for the rows that get none, where there are more rows than columns. */
export function assign(costs: readonly (readonly number[])[]): (number | null)[] {
  const columns = costs[0]?.length ?? 0;
  if (costs.length <= columns) return columnsOf(costs);
  const chosen = new Array<number | null>(costs.length).fill(null);
  const turned = Array.from({ length: columns }, (_, column) => costs.map((row) => at(row, column)));
  for (const [column, row] of columnsOf(turned).entries()) chosen[row] = column;
  return chosen;
}

/**
 * Needs at least as many columns as rows. By shortest augmenting paths, with potentials that keep reduced costs at 0 or above (Jonker and
 * Volgenant, 1987): rows² · columns steps.
 */
function columnsOf(costs: readonly (readonly number[])[]): number[] {
  const columns = costs[0]?.length ?? 0;
  const rowPotential = new Float64Array(costs.length);
  const columnPotential = new Float64Array(columns);
  const rowOf = new Int32Array(columns).fill(-1);
  for (let row = 0; row < costs.length; row++) {
    const least = new Float64Array(columns).fill(Number.POSITIVE_INFINITY);
    const before = new Int32Array(columns).fill(-1); // the column before this one on the path; -1: the new row
    const visited = new Uint8Array(columns);
    let column = -1;
    for (;;) {
      const from = column < 0 ? row : at(rowOf, column);
      let [next, step] = [-1, Number.POSITIVE_INFINITY];
      for (let other = 0; other < columns; other++) {
        if (at(visited, other) !== 0) continue;
        const reduced = at(at(costs, from), other) - at(rowPotential, from) - at(columnPotential, other);
        if (reduced < at(least, other)) {
          least[other] = reduced;
          before[other] = column;
        }
        if (at(least, other) < step) [next, step] = [other, at(least, other)];
      }
      rowPotential[row] = at(rowPotential, row) + step;
      for (let other = 0; other < columns; other++) {
        if (at(visited, other) === 0) least[other] = at(least, other) - step;
        else {
          const owner = at(rowOf, other);
          rowPotential[owner] = at(rowPotential, owner) + step;
          columnPotential[other] = at(columnPotential, other) - step;
        }
      }
      visited[next] = 1;
      column = next;
      if (at(rowOf, column) < 0) break;
    }
    while (column >= 0) {
      const previous = at(before, column);
      rowOf[column] = previous < 0 ? row : at(rowOf, previous);
      column = previous;
    }
  }
  const chosen = new Array<number>(costs.length).fill(-1);
  for (const [column, row] of rowOf.entries()) if (row >= 0) chosen[row] = column;
  return chosen;
}
