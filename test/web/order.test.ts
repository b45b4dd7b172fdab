/** The order of the table of adapters. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { columnsOf, isDescending, ordered } from "../../web/adapters/order.js";
import type { AdapterInfo } from "../../web/client/types.js";

const adapterOf = (name: string, size: number, tier: AdapterInfo["tier"]): AdapterInfo => ({
  ...{
    name,
    base: name,
    tasks: [],
    digest: "",
    rank: size,
    dora: false,
    modules: size,
    bytes: size,
    source: "store",
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
