/**
 * SentencePiece's precompiled character map: a double-array trie (Aoe, 1989; the layout of darts-clone) from UTF-8 bytes to their
 * replacement.
 */

import { LorikeetError } from "../../base/errors.js";
import { uint32At } from "../../base/list.js";
import { graphemeStarts } from "./graphemes.js";

/** Longer clusters are looked up character by character, as in the Rust library. */
const longestClusterBytes = 5;

const utf8 = new TextEncoder();

/** `encoded` is base64. @throws LorikeetError `model_invalid` if the map is truncated. */
export function createCharsMap(encoded: string): (text: string) => string {
  const bytes = Buffer.from(encoded, "base64");
  const trieBytes = bytes.length >= 4 ? bytes.readUInt32LE(0) : 0;
  if (trieBytes === 0 || trieBytes % 4 !== 0 || 4 + trieBytes > bytes.length) {
    throw invalid(`says ${trieBytes} bytes and has ${Math.max(0, bytes.length - 4)}`);
  }
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i));
  const replacements = bytes.subarray(4 + trieBytes);
  const lookUp = (key: Uint8Array): string | null => {
    const at = shortestPrefix(units, key);
    if (at === null || at > replacements.length) return null;
    const end = replacements.indexOf(0, at);
    return replacements.toString("utf8", at, end < 0 ? replacements.length : end);
  };
  return (text) => {
    let mapped = "";
    const starts = graphemeStarts(text);
    for (const [i, begin] of starts.entries()) {
      const segment = text.slice(begin, starts[i + 1]);
      const key = utf8.encode(segment);
      const whole = key.length <= longestClusterBytes ? lookUp(key) : null;
      if (whole !== null) mapped += whole;
      else for (const character of segment) mapped += lookUp(utf8.encode(character)) ?? character;
    }
    return mapped;
  };
}

/** The value of the shortest key that `key` begins with. */
function shortestPrefix(units: Uint32Array, key: Uint8Array): number | null {
  let node = offsetOf(uint32At(units, 0));
  for (const byte of key) {
    if (byte === 0) return null;
    node ^= byte;
    const unit = units[node];
    // The label: the low byte, and a top bit that only values have.
    if (unit === undefined || (unit & 0x800000ff) !== byte) return null;
    node ^= offsetOf(unit);
    if ((unit >>> 8) & 1) {
      const value = units[node];
      if (value === undefined) throw invalid(`has ${units.length} units and a value at ${node}`);
      return value & 0x7fffffff;
    }
  }
  return null;
}

const invalid = (fault: string): LorikeetError =>
  new LorikeetError("model_invalid", `The tokenizer cannot be used: its precompiled map of characters ${fault}.`, {
    param: "tokenizer.json",
  });

const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
