/** Byte strings of a vocabulary's tokens, and trees of them that are walked without recursion. */
import { int32At, uint8At, uint16At } from "../base/list.js";

export interface TokenBytes {
  /** The bytes of token i are those from `offsets[i]` up to `offsets[i + 1]`. None: the token has no text. */
  readonly bytes: Uint8Array;
  readonly offsets: Int32Array;
}

/** A token, or the rest of one after some of its bytes. */
export interface Spelling {
  readonly id: number;
  readonly bytes: Uint8Array;
}

/** A prefix tree in preorder; each node has the byte that leads to it. */
export interface TokenTree {
  readonly byte: Uint8Array;
  /** The number of bytes from the root to the node, including its own. */
  readonly depth: Uint16Array;
  /** The first node after the node's subtree. */
  readonly after: Int32Array;
  /** The tokens that end at node i are those from `tokensFrom[i]` up to `tokensFrom[i + 1]`, in `tokens`. */
  readonly tokensFrom: Int32Array;
  readonly tokens: Int32Array;
}

/** Longer tokens are excluded: no grammar allows them. */
const maxTokenBytes = 1024;

/** Whether each byte is a token by itself. */
export function spelledBytes({ bytes, offsets }: TokenBytes): boolean[] {
  const spelled = Array.from({ length: 256 }, () => false);
  for (let id = 0; id + 1 < offsets.length; id++) {
    const start = int32At(offsets, id);
    if (int32At(offsets, id + 1) === start + 1) spelled[uint8At(bytes, start)] = true;
  }
  return spelled;
}

/** The tree of a whole vocabulary. */
export function vocabularyTree({ bytes, offsets }: TokenBytes): TokenTree {
  const spellings: Spelling[] = [];
  for (let id = 0; id + 1 < offsets.length; id++) {
    const own = bytes.subarray(int32At(offsets, id), int32At(offsets, id + 1));
    if (own.length > 0 && own.length <= maxTokenBytes) spellings.push({ id, bytes: own });
  }
  return treeOf(spellings);
}

/** The tables are in shared memory, so threads pass them on without copies. */
export function treeOf(spellings: Spelling[]): TokenTree {
  spellings.sort((a, b) => Buffer.compare(a.bytes, b.bytes));
  const byte: number[] = [];
  const depth: number[] = [];
  const tokensFrom: number[] = [];
  let previous: Uint8Array = new Uint8Array();
  for (const [index, { bytes }] of spellings.entries()) {
    let common = 0;
    while (common < bytes.length && bytes[common] === previous[common]) common++;
    for (let i = common; i < bytes.length; i++) {
      byte.push(uint8At(bytes, i));
      depth.push(i + 1);
      tokensFrom.push(index);
    }
    previous = bytes;
  }
  tokensFrom.push(spellings.length);
  return {
    byte: shared(Uint8Array, byte),
    depth: shared(Uint16Array, depth),
    after: shared(Int32Array, subtreeEnds(Uint16Array.from(depth))),
    tokensFrom: shared(Int32Array, tokensFrom),
    tokens: shared(
      Int32Array,
      spellings.map(({ id }) => id),
    ),
  };
}

export const treeBytes = (tree: TokenTree): number =>
  Object.values(tree).reduce<number>((sum, table: Uint8Array | Uint16Array | Int32Array) => sum + table.byteLength, 0);

/** For each node the next one that is not deeper. */
function subtreeEnds(depths: Uint16Array): Int32Array {
  const after = new Int32Array(depths.length);
  const open: number[] = [];
  for (let node = 0; node <= depths.length; node++) {
    const depth = depths[node] ?? 0;
    for (let top = open.at(-1); top !== undefined && uint16At(depths, top) >= depth; top = open.at(-1)) {
      after[top] = node;
      open.pop();
    }
    open.push(node);
  }
  return after;
}

interface TableType<T> {
  readonly BYTES_PER_ELEMENT: number;
  new (memory: SharedArrayBuffer): T;
}

function shared<T extends Uint8Array | Uint16Array | Int32Array>(type: TableType<T>, values: ArrayLike<number>): T {
  const table = new type(new SharedArrayBuffer(type.BYTES_PER_ELEMENT * values.length));
  table.set(values);
  return table;
}
