/** The faults of unknown names: they show the closest ones, and never take long. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { unknownAdapter, unknownModel } from "../../src/gateway/unknown-name.js";

test("an unknown name shows all names of a small server, and the closest ones of a large one", () => {
  assert.equal(unknownModel("x", []).message, "The model `x` does not exist.");
  assert.equal(unknownModel("x", ["a", "b"]).message, "The model `x` does not exist. This server has `a`, `b`.");
  const names = ["base", "dates", "reviews", "Plays", "butler"];
  assert.equal(
    unknownModel("plyas", names).message,
    "The model `plyas` does not exist. The closest of the 5 models of this server are `Plays`, `base`, `dates`; GET /v1/models lists all.",
  );
  const fault = unknownAdapter("date", names.slice(1));
  assert.deepEqual([fault.code, fault.param], ["adapter_not_found", "name"]);
  assert.match(
    fault.message,
    /The closest of the 4 adapters of this server are `dates`, .*; GET \/v1\/adapters lists all\.$/,
  );
});

test("long names and many names are compared within bounds", () => {
  const many = Array.from({ length: 100_000 }, (_, i) => `adapter-${i}`);
  const startedAt = performance.now();
  assert.match(
    unknownModel("adapter-77x", many).message,
    /The closest of the 100000 models of this server are `adapter-77`/,
  );
  assert.match(
    unknownModel("x".repeat(1e6), many).message,
    /GET \/v1\/models lists the 100000 models of this server\.$/,
  );
  assert.ok(performance.now() - startedAt < 2000);
});
