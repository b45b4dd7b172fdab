/** A grammar over a vocabulary of invented tokens, for measuring what masks cost. */
import { GrammarCompiler, grammarDefaults } from "../grammar/compiler.js";
import type { Grammar } from "../grammar/grammar.js";

/** What ends and separates JSON's values within one token, as real vocabularies have it. */
const joints = [
  '"',
  '":',
  '": "',
  '",',
  '", "',
  '"]',
  '"}',
  '"},',
  "]",
  "}",
  "},",
  "[",
  '["',
  '{"',
  ", ",
  ": ",
  ".\\n",
];

/** Any JSON object, over every byte, joints of JSON, and words. */
export async function jsonGrammar(vocabSize: number): Promise<Grammar> {
  const compiler = new GrammarCompiler({ vocabSize, bytesOf }, grammarDefaults);
  return await compiler.compile({ kind: "object", param: "response_format" });
}

function bytesOf(id: number): Iterable<number> {
  return id < 256 ? [id] : Buffer.from(joints[id - 256] ?? word(id));
}

/** A word of two to nine letters, with a space before every other one. */
function word(id: number): string {
  let state = id;
  const letters = Array.from({ length: 2 + (id % 8) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return String.fromCharCode(97 + ((state >>> 16) % 26));
  });
  return `${id % 2 === 0 ? " " : ""}${letters.join("")}`;
}
