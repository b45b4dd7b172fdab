/**
 * Reads many tensors of a file in turn with few, large reads: neighbours share a read, and the next read runs while the caller
 * works on the last. At most one read is in flight, since all share one thread pool.
 */

import { dtypeSizes } from "./dtype.js";
import type { SafetensorsFile, StoredTensor } from "./safetensors.js";

/** The largest size of one read, and of one band. */
export const bandBytes = 4 * 2 ** 20;

export interface StreamedTensor {
  readonly name: string;
  /** Offset of the bytes from the tensor's start; above 0 in later bands of a tensor. */
  readonly begin: number;
  /** May share memory with neighbours: copy what you keep. Aligned for a typed array of the tensor's dtype. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface StreamOptions {
  /** Cuts a tensor larger than `bandBytes` into bands. By default every tensor comes whole, whatever its size. */
  readonly bands?: boolean;
}

/** A byte range of the file that one read covers. */
interface Piece {
  readonly offset: number;
  end: number;
  readonly parts: Part[];
}

interface Part extends StoredTensor {
  readonly name: string;
  readonly begin: number;
}

/** Yields the named tensors in the given order. */
export async function* streamTensors(
  file: SafetensorsFile,
  names: Iterable<string>,
  { bands = false }: StreamOptions = {},
): AsyncGenerator<StreamedTensor> {
  const pieces = planPieces(file, names, bands ? bandBytes : Number.POSITIVE_INFINITY);
  const read = ({ offset, end }: Piece): Promise<Uint8Array<ArrayBuffer>> => file.readAt(offset, end - offset);
  let ahead: Promise<Uint8Array<ArrayBuffer>> | null = null;
  for (const [place, piece] of pieces.entries()) {
    const bytes = await (ahead ?? read(piece));
    const next = pieces[place + 1];
    ahead = next ? read(next) : null;
    ahead?.catch(() => {}); // awaited in the next round, unless the caller stops early
    for (const { name, begin, dtype, offset, byteLength } of piece.parts) {
      const start = offset - piece.offset;
      const aligned = start % dtypeSizes[dtype] === 0;
      yield {
        name,
        begin,
        bytes: aligned ? bytes.subarray(start, start + byteLength) : bytes.slice(start, start + byteLength),
      };
    }
  }
}

function planPieces(file: SafetensorsFile, names: Iterable<string>, largest: number): Piece[] {
  const pieces: Piece[] = [];
  for (const name of names) {
    for (const part of cut({ name, begin: 0, ...file.tensor(name) }, largest)) {
      const end = part.offset + part.byteLength;
      const last = pieces.at(-1);
      if (last && last.end === part.offset && end - last.offset <= bandBytes) {
        last.parts.push(part);
        last.end = end;
      } else pieces.push({ offset: part.offset, end, parts: [part] });
    }
  }
  return pieces;
}

/** Cuts a tensor into parts of at most `largest` bytes; an empty tensor is one part. */
function cut(whole: Part, largest: number): Part[] {
  if (whole.byteLength <= largest) return [whole];
  const parts: Part[] = [];
  for (let begin = 0; begin < whole.byteLength; begin += largest) {
    const byteLength = Math.min(largest, whole.byteLength - begin);
    parts.push({ ...whole, begin, offset: whole.offset + begin, byteLength });
  }
  return parts;
}
