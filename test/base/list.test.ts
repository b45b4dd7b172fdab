import assert from "node:assert/strict";
import { test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { at, last, only, valueAt, zip } from "../../src/base/list.js";

const broken = (message: RegExp) => (error: unknown) =>
  error instanceof LorikeetError && error.code === "internal" && message.test(error.message);

test("at reads an item of any list, falsy ones too", () => {
  assert.equal(at(["a", "b"], 1), "b");
  assert.equal(at(new Float32Array([0, 2]), 0), 0);
  assert.equal(at([null], 0), null);
  assert.equal(at([""], 0), "");
});

test("at throws past either end, between items and at a hole", () => {
  for (const index of [-1, 2, 0.5, Number.NaN]) {
    assert.throws(() => at([1, 2], index), broken(/no item at index .* of a list of 2/));
  }
  assert.throws(() => at(new Array<number>(3), 1), broken(/no item at index 1 of a list of 3/));
});

test("last and only refuse lists of the wrong length", () => {
  assert.equal(last([1, 2, 3]), 3);
  assert.throws(() => last([]), broken(/list of 0/));
  assert.equal(only(["a"]), "a");
  assert.throws(() => only([]), broken(/one item was expected in a list of 0/));
  assert.throws(() => only([1, 2]), broken(/one item was expected in a list of 2/));
});

test("valueAt reads a map's value, falsy ones too, and refuses a key that the map lacks", () => {
  assert.equal(valueAt(new Map([["a", 0]]), "a"), 0);
  assert.equal(valueAt(new Map([[1, null]]), 1), null);
  assert.throws(() => valueAt(new Map([["a", 0]]), "b"), broken(/no value of the key b in a map of 1/));
});

test("zip pairs equal lists and refuses others", () => {
  assert.deepEqual(zip([1, 2], new Int32Array([3, 4])), [
    [1, 3],
    [2, 4],
  ]);
  assert.deepEqual(zip([], []), []);
  assert.throws(() => zip([1], []), broken(/lists of 1 and 0 items/));
});
