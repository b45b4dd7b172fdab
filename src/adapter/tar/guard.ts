/**
 * Limits on a tar's bytes before the tar reader sees them: the decompressed size, and the size and number of extended headers, which
 * are slow to parse. Knows blocks, not entries.
 *
 * A tar is a sequence of blocks of 512 bytes, so every header starts at a multiple of 512. Every block that looks like an extended
 * header counts, even if it is data.
 */

import { LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";

const blockBytes = 512;
const typeOffset = 156;
const sizeOffset = 124;
const magicOffset = 257;
const magic = "ustar";
/** x, g: POSIX; L, K, N: GNU's long names. */
const extendedTypes = new Set([..."xgLKN"].map((type) => type.charCodeAt(0)));
const maxExtendedBytes = 16_384;
const maxExtendedPerEntry = 4;

export interface TarBounds {
  readonly unpackedBytes: number;
  readonly entries: number;
}

/** Passes chunks on. Throws `too_large` or `invalid_upload`. */
export async function* guardTar(source: AsyncIterable<Buffer>, bounds: TarBounds): AsyncGenerator<Buffer> {
  const guard = new BlockGuard(bounds.entries * maxExtendedPerEntry);
  let unpacked = 0;
  for await (const chunk of source) {
    unpacked += chunk.length;
    if (unpacked > bounds.unpackedBytes) throw unpackedTooLarge(unpacked, bounds.unpackedBytes);
    guard.see(chunk);
    yield chunk;
  }
}

export function unpackedTooLarge(found: number, allowed: number): LorikeetError {
  const message = `The upload unpacks to at least ${found} bytes; at most ${allowed} are allowed.`;
  return new LorikeetError("too_large", message, { found, allowed });
}

class BlockGuard {
  readonly #maxExtended: number;
  /** The start of an incomplete block. */
  readonly #partial = Buffer.alloc(blockBytes);
  #filled = 0;
  #extended = 0;

  constructor(maxExtended: number) {
    this.#maxExtended = maxExtended;
  }

  see(chunk: Buffer): void {
    let position = 0;
    if (this.#filled > 0) {
      position = chunk.copy(this.#partial, this.#filled, 0);
      this.#filled += position;
      if (this.#filled < blockBytes) return;
      this.#judge(this.#partial, 0);
    }
    for (; position + blockBytes <= chunk.length; position += blockBytes) this.#judge(chunk, position);
    this.#filled = chunk.copy(this.#partial, 0, position);
  }

  #judge(bytes: Buffer, start: number): void {
    if (!extendedTypes.has(at(bytes, start + typeOffset))) return;
    if (bytes.toString("latin1", start + magicOffset, start + magicOffset + magic.length) !== magic) return;
    this.#extended++;
    const text = bytes.toString("latin1", start + sizeOffset, start + sizeOffset + 12);
    const size = /^[ \0]*([0-7]{1,12})/.exec(text)?.[1];
    const bytesClaimed = size === undefined ? Number.POSITIVE_INFINITY : Number.parseInt(size, 8);
    if (bytesClaimed > maxExtendedBytes) {
      throw refused(`an extended header of ${bytesClaimed} bytes`, `at most ${maxExtendedBytes} bytes`);
    }
    if (this.#extended > this.#maxExtended) {
      throw refused(`more than ${this.#maxExtended} extended headers`, `at most ${this.#maxExtended}`);
    }
  }
}

function refused(found: string, allowed: string): LorikeetError {
  const message = `The tar holds ${found}; ${allowed} are allowed.`;
  return new LorikeetError("invalid_upload", message, { param: "body", found, allowed });
}
