/** How ranks are padded and split into tiles and blocks. */

/** Columns of a tile of A. */
export const tileColumns = 16;

/** Up to this rank kernels compute the product as one sum. They split longer ones, at places that depend on a thread's rows and columns. */
export const oneSum = 128;

/** The padded rank of a place in the stack: 8, whole tiles, or above one sum whole blocks. */
export function paddedRank(rank: number): number {
  const step = rank <= 8 ? 8 : rank <= oneSum ? tileColumns : oneSum;
  return Math.ceil(rank / step) * step;
}

/** A padded rank as tiles of equal width. */
export function tilesOf(rank: number): { readonly tiles: number; readonly columns: number } {
  const tiles = Math.ceil(rank / tileColumns);
  return { tiles, columns: rank / tiles };
}

/** A padded rank as blocks of one sum each. The cuts do not depend on the padding. */
export function blocksOf(rank: number): { readonly blocks: number; readonly width: number } {
  return rank <= oneSum ? { blocks: 1, width: rank } : { blocks: rank / oneSum, width: oneSum };
}
