/**
 * ONNX files with random damage: whatever the bytes are, the answer is a graph or one error, in bounded time, and ONNX Runtime takes
 * the graph or refuses it in order. `npm run fuzz:onnx` tries 5,000 files; FUZZ_SEED and FUZZ_RUNS choose others.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LorikeetError } from "../../src/base/errors.js";
import { chooseBranch, flagsOf } from "../../src/graph/branches.js";
import { readOnnx } from "../../src/graph/read.js";
import { serializeGraph } from "../../src/graph/serialize.js";
import type { Graph } from "../../src/graph/types.js";
import { Session } from "../../src/runtime/session.js";
import { damagedBytes, damagedFields } from "../support/damaged-onnx.js";

const options = { numRuns: Number(process.env.FUZZ_RUNS ?? 120), seed: Number(process.env.FUZZ_SEED ?? 1) };
/** Reads bytes; what was read must be loaded or refused by ONNX Runtime. */
async function examine(bytes: Uint8Array): Promise<void> {
  let graphs: Graph[];
  try {
    const { graph } = readOnnx(bytes, "fuzz.onnx", () => {
      throw new LorikeetError("model_invalid", "no external data");
    });
    graphs = [
      graph,
      ...flagsOf(graph).flatMap((flag) => [true, false].map((value) => chooseBranch(graph, flag, value))),
    ];
  } catch (error) {
    assert.ok(error instanceof LorikeetError, error instanceof Error ? error.stack : String(error));
    assert.match(error.code, /^model_(invalid|unsupported)$/);
    assert.ok(error.message.length < 1000, error.message);
    return;
  }
  for (const graph of graphs) {
    try {
      using session = await Session.create(serializeGraph(graph), { threads: 1 });
      assert.ok(session.handle);
    } catch (error) {
      assert.ok(error instanceof LorikeetError, error instanceof Error ? error.stack : String(error));
      assert.equal(error.code, "runtime_failed");
    }
  }
}

test("files with damaged bytes are read or refused", async () => {
  await fc.assert(fc.asyncProperty(damagedBytes, examine), options);
});

test("files with damaged fields are read or refused", async () => {
  await fc.assert(fc.asyncProperty(damagedFields, examine), options);
});
