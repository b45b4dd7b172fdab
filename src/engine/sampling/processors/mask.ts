/** Masks over rows of logits: one bit for each token. */

/** Sends to -Infinity every token whose bit (bit id % 32 of word id / 32) is not set, and every token past the mask. */
export function applyMask(row: Float32Array, mask: Uint32Array): void {
  let start = 0;
  for (const word of mask) {
    const end = Math.min(start + 32, row.length);
    if (word === 0) row.fill(Number.NEGATIVE_INFINITY, start, end);
    else if (word !== 0xffffffff) {
      for (let id = start; id < end; id++) if ((word & (1 << (id - start))) === 0) row[id] = Number.NEGATIVE_INFINITY;
    }
    start = end;
  }
  row.fill(Number.NEGATIVE_INFINITY, start);
}
