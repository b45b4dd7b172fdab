import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { StopMatcher } from "../../src/text/stop.js";

/** Looks at every ending of every beginning: the match complete first wins, then the longest. */
function naive(text: string, stops: readonly string[]): { text: string; stopped: string | null } {
  for (let end = 1; end <= text.length; end++) {
    const met = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (met !== undefined) return { text: text.slice(0, end - met.length), stopped: met };
  }
  return { text, stopped: null };
}

function run(pieces: readonly string[], stops: readonly string[]) {
  const matcher = new StopMatcher(stops);
  let text = "";
  let stopped: string | null = null;
  for (const piece of pieces) {
    const result = matcher.push(piece);
    text += result.text;
    stopped = result.stopped;
  }
  return { text: text + matcher.flush(), stopped };
}

const word = (maxLength: number) => fc.string({ unit: fc.constantFrom("a", "b", "c", "😀"), maxLength });
const stopWords = fc.array(
  word(5).filter((stop) => stop !== ""),
  { maxLength: 4 },
);

describe("stop strings", () => {
  test("a text cut anywhere stops where a search of the full text finds the stop string", () => {
    fc.assert(
      fc.property(fc.array(word(6), { maxLength: 12 }), stopWords, (pieces, stops) => {
        assert.deepEqual(run(pieces, stops), naive(pieces.join(""), stops));
      }),
      { numRuns: 3000 },
    );
  });

  test("emitted text is never part of a stop string that is completed later", () => {
    fc.assert(
      fc.property(word(30), stopWords, (text, stops) => {
        const end = naive(text, stops).text.length;
        const matcher = new StopMatcher(stops);
        let given = 0;
        for (const character of text) {
          given += matcher.push(character).text.length;
          assert.ok(given <= end);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("only text that could begin a stop string is held back", () => {
    fc.assert(
      fc.property(word(20), stopWords, (text, stops) => {
        const result = new StopMatcher(stops).push(text);
        if (result.stopped !== null) return;
        const held = text.slice(result.text.length);
        assert.ok(held === "" || stops.some((stop) => stop.startsWith(held)), `${held} was held back`);
      }),
      { numRuns: 1000 },
    );
  });

  const cases: [string, string[], string[], string, string | null][] = [
    ["across pieces", ["Hello <|e", "nd|> more"], ["<|end|>"], "Hello ", "<|end|>"],
    ["a false beginning is given out", ["a <|e", "x"], ["<|end|>"], "a <|ex", null],
    ["at the very start", ["\n", "\nx"], ["\n\n"], "", "\n\n"],
    ["the one complete first wins", ["xabcd"], ["abcd", "bc"], "xa", "bc"],
    ["of two that end together the longest wins", ["xabc"], ["bc", "abc"], "x", "abc"],
    ["overlapping itself", ["aab", "aabaaab"], ["aabaaa"], "aab", "aabaaa"],
    ["a held beginning at the end is flushed", ["text EN"], ["END"], "text EN", null],
    ["no stop strings", ["a", "b"], [], "ab", null],
    ["half a character is no match", ["😀"], ["\ud83d"], "😀", null],
  ];
  for (const [name, pieces, stops, text, stopped] of cases) {
    test(name, () => assert.deepEqual(run(pieces, stops), { text, stopped }));
  }

  test("nothing is emitted after a match", () => {
    const matcher = new StopMatcher(["."]);
    assert.deepEqual(matcher.push("a.b"), { text: "a", stopped: "." });
    assert.deepEqual(matcher.push("c"), { text: "", stopped: "." });
    assert.equal(matcher.flush(), "");
  });

  test("an empty stop string is refused", () => {
    assert.throws(() => new StopMatcher(["a", ""]), { code: "invalid_value", param: "stop" });
  });
});
