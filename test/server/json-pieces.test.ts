/** Large answers in pieces: the text of `JSON.stringify`, bounded pieces, and nothing is generated before it is requested. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { LazyList, mapLazily } from "../../src/base/lazy-list.js";
import { jsonPieces } from "../../src/server/http/json-pieces.js";

const whole = (value: unknown): string => [...jsonPieces(value)].join("");

describe("pieces of JSON", () => {
  test("joined, they equal JSON.stringify, for any value", () => {
    fc.assert(
      fc.property(fc.anything({ withDate: true, withNullPrototype: true, maxDepth: 4 }), (value) => {
        assert.equal(whole(value), JSON.stringify(value) ?? "null");
      }),
      { numRuns: 300 },
    );
  });

  test("joined, they equal JSON.stringify, even if every part is large", () => {
    const texts = Array.from({ length: 3 }, (_, i) => `${"a".repeat(32_767 + i)}\u{1f600}"\n${"b".repeat(70_000)}`);
    const nested = Array.from({ length: 400 }, (_, i) => ({ i, skipped: undefined, list: Array(i % 7).fill(null) }));
    const value = {
      texts,
      nested,
      none: undefined,
      holes: [undefined, () => {}, ...Array(500).fill(undefined)],
      empty: [],
    };
    assert.equal(whole(value), JSON.stringify(value));
    assert.equal(whole("\ud83d".repeat(40_000)), JSON.stringify("\ud83d".repeat(40_000)));
  });

  test("of a value deeper than every call stack equal its JSON", () => {
    const depth = 8_000;
    let value: unknown = "leaf";
    for (let i = 0; i < depth; i++) value = i % 8 === 0 ? { a: value } : [value];
    const expected = `${`${"[".repeat(7)}{"a":`.repeat(depth / 8)}"leaf"${`}${"]".repeat(7)}`.repeat(depth / 8)}`;
    assert.ok(whole(value) === expected);
  });

  test("are bounded in size, and few for a small value", () => {
    const value = Array.from({ length: 50_000 }, (_, i) => ({ token: `t${i}`, logprob: -i / 7 }));
    const sizes = [...jsonPieces(value)].map(({ length }) => length);
    assert.ok(Math.max(...sizes) < 100_000, `${Math.max(...sizes)}`);
    assert.ok(sizes.length > 10);
    assert.equal([...jsonPieces({ a: [1, 2, 3], b: "text" })].length, 1);
  });

  test("of a lazy list are created on demand and equal the JSON of its items", () => {
    let made = 0;
    const items = Array.from({ length: 10_000 }, (_, i) => i);
    const lazy = mapLazily(items, (i) => {
      made++;
      return { i, text: "x".repeat(100) };
    });
    const pieces = jsonPieces({ lazy });
    pieces.next();
    assert.ok(made > 0 && made < 2_000, `${made}`);
    assert.equal(whole({ lazy }), JSON.stringify({ lazy: items.map((i) => ({ i, text: "x".repeat(100) })) }));
    assert.equal(JSON.stringify(new LazyList(() => [1, 2])), "[1,2]");
    assert.deepEqual(
      mapLazily([1, 2], (i) => 2 * i),
      [2, 4],
      "a short one is a list",
    );
  });
});
