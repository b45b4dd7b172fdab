/** The README's table of families is that of the registry. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { families } from "../../src/model/families/registry.js";

test("the README has every family's model_type, and no other", () => {
  const rows = readFileSync("README.md", "utf8").split("| Family | `model_type` |")[1]?.split("\n\n")[0] ?? "";
  const types = [...rows.matchAll(/^\|[^|]*\|([^|]*)\|/gm)].flatMap(([, cell = ""]) =>
    [...cell.matchAll(/`(\w+)`/g)].map(([, type]) => type),
  );
  assert.deepEqual(types.sort(), families.map(({ name }) => name).sort());
});
