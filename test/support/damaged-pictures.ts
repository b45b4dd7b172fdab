/** Pictures with damage, from seeds. */

import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";

const { files }: { files: Record<string, { bytes: string }> } = JSON.parse(
  readFileSync("test/fixtures/images/pictures.json", "utf8"),
);

/** Whole ones, of every format. */
export const pictures: Readonly<Record<string, Buffer>> = Object.fromEntries(
  Object.entries(files).map(([name, { bytes }]) => [name, Buffer.from(bytes, "base64")]),
);

/** Numbers from 0 to 1 that repeat for a seed. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

export function damagedPicture(bytes: Buffer, next: () => number): Buffer {
  const copy = Buffer.from(bytes);
  const below = (count: number): number => Math.floor(next() * count);
  const kind = below(4);
  if (kind === 0) return copy.subarray(0, below(copy.length));
  const begin = below(copy.length);
  if (kind === 1) return Buffer.concat([copy.subarray(0, begin), copy.subarray(begin + 1 + below(30))]);
  for (let i = 0; i < (kind === 2 ? 1 : 8); i++) copy[below(copy.length)] = below(256);
  return isPng(copy) ? withChecksums(copy) : copy;
}

const isPng = (bytes: Buffer): boolean => bytes.subarray(1, 4).toString("latin1") === "PNG";

/** With wrong checksums no damage would get behind them. */
function withChecksums(bytes: Buffer): Buffer {
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 8 + bytes.readUInt32BE(at);
    if (end + 4 > bytes.length) break;
    bytes.writeUInt32BE(crc32(bytes.subarray(at + 4, end)), end);
    at = end + 4;
  }
  return bytes;
}
