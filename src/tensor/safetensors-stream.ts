/**
 * Reads many tensors of a file in turn with few, large reads: neighbours come in one piece, and the next piece is read while
 * the caller works on this one. Never more than one read is in flight, since others wait for the same pool.
 */

import { dtypeSizes } from "./dtype.js";
import type { SafetensorsFile, StoredTensor } from "./safetensors.js";

const maxPieceBytes = 4 * 2 ** 20; // a larger tensor is a piece of its own

export interface StreamedTensor {
  readonly name: string;
  /** May share its memory with neighbours: copy what you keep. Aligned for typed arrays of its dtype. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

interface Piece {
  readonly offset: number;
  end: number;
  readonly tensors: (StoredTensor & { readonly name: string })[];
}

/** Yields the named tensors in the order given. */
export async function* streamTensors(file: SafetensorsFile, names: Iterable<string>): AsyncGenerator<StreamedTensor> {
  const pieces = planPieces(file, names);
  const read = ({ offset, end }: Piece): Promise<Uint8Array<ArrayBuffer>> => file.readAt(offset, end - offset);
  let ahead: Promise<Uint8Array<ArrayBuffer>> | null = null;
  for (const [place, piece] of pieces.entries()) {
    const bytes = await (ahead ?? read(piece));
    const next = pieces[place + 1];
    ahead = next ? read(next) : null;
    ahead?.catch(() => {}); // awaited in the next round, unless the caller has left
    for (const { name, dtype, offset, byteLength } of piece.tensors) {
      const start = offset - piece.offset;
      const aligned = start % dtypeSizes[dtype] === 0;
      yield {
        name,
        bytes: aligned ? bytes.subarray(start, start + byteLength) : bytes.slice(start, start + byteLength),
      };
    }
  }
}

function planPieces(file: SafetensorsFile, names: Iterable<string>): Piece[] {
  const pieces: Piece[] = [];
  for (const name of names) {
    const tensor = { name, ...file.tensor(name) };
    const end = tensor.offset + tensor.byteLength;
    const last = pieces.at(-1);
    if (last && last.end === tensor.offset && end - last.offset <= maxPieceBytes) {
      last.tensors.push(tensor);
      last.end = end;
    } else pieces.push({ offset: tensor.offset, end, tensors: [tensor] });
  }
  return pieces;
}
