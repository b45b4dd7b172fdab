/** How an adapter's rank is padded and cut into tiles, wherever its matrices are laid out or counted. */

/** Columns of a tile of A. */
export const tileColumns = 16;

/** The rank that a place for adapters of this one has: 8, or whole tiles. */
export const paddedRank = (rank: number): number => (rank <= 8 ? 8 : Math.ceil(rank / tileColumns) * tileColumns);

/** A padded rank as tiles of equal width. */
export function tilesOf(rank: number): { readonly tiles: number; readonly columns: number } {
  const tiles = Math.ceil(rank / tileColumns);
  return { tiles, columns: rank / tiles };
}
