/** The tokens of a vocabulary by their bytes, and a tree of them that is walked without recursion. */
import { at, int32At } from "../base/list.js";

export interface TokenBytes {
  /** The bytes of token i are those from `offsets[i]` up to `offsets[i + 1]`. None: the token is never part of a text. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly offsets: Int32Array<ArrayBuffer>;
}

/** The nodes of the tree in the order of a walk, each with the byte that leads to it. */
export interface TokenTree {
  readonly byte: Uint8Array<ArrayBuffer>;
  /** Bytes from the root to the node, itself included. */
  readonly depth: Uint16Array<ArrayBuffer>;
  /** The node after all of those below this one. */
  readonly after: Int32Array<ArrayBuffer>;
  /** The tokens that end at node i are those from `tokensFrom[i]` up to `tokensFrom[i + 1]`, in `tokens`. */
  readonly tokensFrom: Int32Array<ArrayBuffer>;
  readonly tokens: Int32Array<ArrayBuffer>;
}

/** A longer token is left out of the tree: no grammar allows it. */
const maxTokenBytes = 1024;

/** The bytes that are tokens of their own. */
export function spelledBytes({ bytes, offsets }: TokenBytes): boolean[] {
  const spelled = Array.from({ length: 256 }, () => false);
  for (let id = 0; id + 1 < offsets.length; id++) {
    const start = int32At(offsets, id);
    if (int32At(offsets, id + 1) === start + 1) spelled[at(bytes, start)] = true;
  }
  return spelled;
}

export function tokenTree({ bytes, offsets }: TokenBytes): TokenTree {
  const spelling = (id: number): Uint8Array => bytes.subarray(int32At(offsets, id), int32At(offsets, id + 1));
  const spellings = Array.from({ length: offsets.length - 1 }, (_, id) => ({ id, bytes: spelling(id) }))
    .filter((token) => token.bytes.length > 0 && token.bytes.length <= maxTokenBytes)
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
  const byte: number[] = [];
  const depth: number[] = [];
  const tokensFrom: number[] = [];
  const tokens: number[] = [];
  let previous = new Uint8Array();
  for (const { id, bytes: own } of spellings) {
    let shared = 0;
    while (shared < own.length && own[shared] === previous[shared]) shared++;
    for (let i = shared; i < own.length; i++) {
      byte.push(at(own, i));
      depth.push(i + 1);
      tokensFrom.push(tokens.length);
    }
    tokens.push(id);
    previous = own.slice();
  }
  tokensFrom.push(tokens.length);
  const depths = Uint16Array.from(depth);
  return {
    byte: Uint8Array.from(byte),
    depth: depths,
    after: ends(depths),
    tokensFrom: Int32Array.from(tokensFrom),
    tokens: Int32Array.from(tokens),
  };
}

/** For each node the next one that is not deeper. */
function ends(depths: Uint16Array): Int32Array<ArrayBuffer> {
  const after = new Int32Array(depths.length);
  const open: number[] = [];
  for (let node = 0; node <= depths.length; node++) {
    const depth = depths[node] ?? 0;
    for (let top = open.at(-1); top !== undefined && at(depths, top) >= depth; top = open.at(-1)) {
      after[top] = node;
      open.pop();
    }
    open.push(node);
  }
  return after;
}
