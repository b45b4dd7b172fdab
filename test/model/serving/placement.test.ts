/** Serving graphs on a card: a session refuses a node that has no kernel there, so creating one for every form shows that none runs on the CPU. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { serializeGraph } from "../../../src/graph/serialize.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { buildServingGraph, type ServingOptions } from "../../../src/model/serving/graph.js";
import type { ServingTarget } from "../../../src/model/serving/target.js";
import { Session } from "../../../src/runtime/session.js";
import { type PlanOptions, planWeights } from "../../../src/weights/plan.js";
import { prepareWeights } from "../../../src/weights/prepare.js";
import { testDevice as device, skipOnDevice, testArithmetic, webgpu } from "../../support/device.js";
import { families, oracleRoot } from "../../support/oracle.js";

const cacheDirectory = await mkdtemp(join(tmpdir(), "lorikeet-placement-"));
after(() => rm(cacheDirectory, { recursive: true }));

const decode: ServingTarget = { ...testArithmetic, plainAttention: "softcap", int64: false };
const prompts: ServingTarget = { ...testArithmetic, plainAttention: "all", int64: false };

type Form = Pick<ServingOptions, "adapters" | "gains" | "target" | "outputs">;

const fp32: PlanOptions = { dtype: "fp32", rawTables: false };
const int8: PlanOptions = { dtype: "int8", int8Kind: "blocks", rawTables: false, pack: true };
const int4: PlanOptions = { dtype: "int4", rawTables: false, pack: true };
const fp16: PlanOptions = { dtype: "fp16", rawTables: false };
const half: ServingTarget = { ...decode, activationType: "float16", cacheType: "float16" };
const masked: Form = { adapters: "masked", gains: true, target: decode, outputs: "both" };

const cases: readonly (readonly [PlanOptions, Form])[] = [
  [fp32, { adapters: "none", target: decode, outputs: "both" }],
  [fp32, masked],
  [fp32, { adapters: "picked", gains: true, target: prompts }],
  [int8, masked],
  [int4, { ...masked, target: { ...decode, accuracyLevel: 0 } }],
  [fp16, { ...masked, target: half }],
  [
    { ...int4, floats: "fp16" },
    { ...masked, target: half },
  ],
];

/** One checkpoint of each family, and those with operators of their own. */
const checkpoints = families.filter((name) => !/-|gemma3_text/.test(name) || /odd-rotary|qk-norm|longrope$/.test(name));

const skip = device.capabilities.hostMemory ? skipOnDevice || webgpu.skip : false;

/** Throws if a node has no kernel on the card. */
async function place(family: string, plan: PlanOptions, options: Form): Promise<void> {
  const checkpoint = await openCheckpoint(join(oracleRoot, family));
  const { config, tensors } = checkpoint;
  const prepared = await prepareWeights(checkpoint, planWeights(config, tensors, plan), { cacheDirectory, threads: 1 });
  const ofDecode = options.outputs === "both" ? { providerOptions: { enableInt64: "1" } } : {};
  const { graph } = buildServingGraph({ ...options, config, weights: prepared.weights, capacity: 64 });
  await device.turn(async () =>
    (await Session.create(serializeGraph(graph), { threads: 1, device, ...ofDecode }))[Symbol.dispose](),
  );
  await prepared.close();
}

for (const family of checkpoints) {
  test(`${family}: no node of any form runs on the CPU`, { skip }, async () => {
    for (const [plan, form] of cases) await place(family, plan, form);
  });
}

test("a node that the card lacks is refused, not given to the CPU", { skip }, async () => {
  await assert.rejects(
    place("gpt_neox", { dtype: "int8", int8Kind: "rows", rawTables: false }, { adapters: "none", target: decode }),
    /assigned to the default CPU EP/,
  );
});
