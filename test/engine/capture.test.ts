/** Which models' decode steps are captured. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { captureFor } from "../../src/engine/capture.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import type { Capture } from "../../src/runtime/device/device.js";
import { oracleRoot } from "../support/oracle.js";

const capture: Capture = { options: { graphs: "1" } };
const { config: plain } = await openCheckpoint(join(oracleRoot, "llama"));
const { config: windowed } = await openCheckpoint(join(oracleRoot, "mistral-sliding"));
const { config: filtered } = await openCheckpoint(join(oracleRoot, "lfm2"));

test("steps are captured where the device captures at all, but for layers with a window of attention", () => {
  for (const config of [plain, filtered]) assert.equal(captureFor(config, { capture }), capture);
  assert.equal(captureFor(windowed, { capture }), null);
  for (const config of [plain, filtered, windowed]) assert.equal(captureFor(config, { capture: null }), null);
});
