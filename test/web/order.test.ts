/** The order of the table of adapters. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkpointCounts, checkpointsLast, folded } from "../../web/adapters/checkpoints.js";
import { columnsOf, isDescending, ordered } from "../../web/adapters/order.js";
import { checkpointWords, halvesOf, pinnedWith } from "../../web/adapters/words.js";
import type { AdapterInfo } from "../../web/client/types.js";

const adapterOf = (name: string, size: number, tier: AdapterInfo["tier"]): AdapterInfo => ({
  ...{
    name,
    base: name,
    tasks: [],
    digest: "",
    weights_digest: name,
    rank: size,
    dora: false,
    modules: size,
    bytes: size,
    source: "store",
    job: null,
    created: 0,
  },
  ...{ tier, pinned: false, in_flight: size, last_used: size, warnings: [], ignored: [] },
  counts: { requests: size, prompt_tokens: 0, completion_tokens: 0 },
});

test("each column says the direction in which it orders", () => {
  const adapters = [adapterOf("b", 2, "host"), adapterOf("c", 3, "disk"), adapterOf("a", 1, "device")];
  for (const column of columnsOf(true)) {
    for (const isReversed of [false, true]) {
      const names = ordered(adapters, "", column, isReversed).map(({ name }) => name);
      assert.deepEqual(names, isDescending(column, isReversed) ? ["c", "b", "a"] : ["a", "b", "c"], column.name);
    }
  }
});

test("checkpoints are folded below their adapter, and come last where names are chosen", () => {
  const names = ["dates", "ft-shop-b25d79736bb4", "ft-shop-b25d79736bb4-step-4", "ft-shop-b25d79736bb4-step-44"];
  const alone = "ft-b25d79736bb5-step-4";
  const adapters = [...names, alone, "plays"].map((name) => ({ name }));
  const shown = (open: readonly string[]) => folded(adapters, new Set(open)).map(({ name }) => name);
  assert.deepEqual(shown([]), [...names.slice(0, 2), alone, "plays"]);
  assert.deepEqual(shown(names), [...names.slice(0, 2), names[3], names[2], alone, "plays"]);
  assert.deepEqual([...checkpointCounts(adapters)], [["ft-shop-b25d79736bb4", 2]]);
  assert.deepEqual(checkpointsLast([...names, "plays"]), [...names.slice(0, 2), "plays", ...names.slice(2)]);
});

test("long names keep their ends, checkpoints are named, and adapters that share a pin say so", () => {
  assert.deepEqual(halvesOf("ft-shop-b25d79736bb4-step-44"), ["ft-shop-b25d79736bb4", "-step-44"]);
  assert.deepEqual(halvesOf("plays"), ["plays", ""]);
  assert.equal(checkpointWords("ft-shop-b25d79736bb4-step-44"), "Checkpoint of a job at step 44. ");
  assert.equal(checkpointWords("ft-shop-b25d79736bb4"), "");
  const shared = ["one", "two", "three"].map((name) => ({
    ...adapterOf(name, 1, "disk"),
    base: "b",
    weights_digest: "x",
  }));
  const [one] = shared;
  assert.ok(one);
  assert.equal(pinnedWith(one, shared), "It shares its weights, and so the pin, with two, three.");
  assert.equal(pinnedWith(one, [one, adapterOf("four", 1, "disk")]), "");
});
