/** How an adapter's rank is padded and cut into tiles, wherever its matrices are laid out or counted. */

/** Columns of a tile of A. */
export const tileColumns = 16;

/** Up to this rank a product over it is one sum; kernels cut longer ones, where depends on the columns and rows that a thread has. */
export const oneSum = 128;

/** The rank that a place for adapters of this one has: 8, whole tiles, or above one sum whole blocks. */
export function paddedRank(rank: number): number {
  const step = rank <= 8 ? 8 : rank <= oneSum ? tileColumns : oneSum;
  return Math.ceil(rank / step) * step;
}

/** A padded rank as tiles of equal width. */
export function tilesOf(rank: number): { readonly tiles: number; readonly columns: number } {
  const tiles = Math.ceil(rank / tileColumns);
  return { tiles, columns: rank / tiles };
}

/** A padded rank as blocks whose products are one sum each: cut at the same places, whatever larger rank it is padded to. */
export function blocksOf(rank: number): { readonly blocks: number; readonly width: number } {
  return rank <= oneSum ? { blocks: 1, width: rank } : { blocks: rank / oneSum, width: oneSum };
}
