/** The adapter pool of a card: whatever is acquired, released and moved, an adapter's tiles have its numbers and no others are its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { HostAdapter, HostModule } from "../../src/adapter/types.js";
import type { BankHold } from "../../src/engine/adapters/bank.js";
import { gainBytes } from "../../src/engine/adapters/gain-stack.js";
import { StackedBank } from "../../src/engine/adapters/stacked-bank.js";
import { tileBytes } from "../../src/engine/adapters/tile-stack.js";
import {
  groupOutputs,
  stackedA,
  stackedB,
  stackedGain,
  stackedInputs,
  tileRanks,
  tileShapes,
} from "../../src/model/serving/stacked-adapters.js";
import { cpu } from "../../src/runtime/device/cpu.js";
import type { DeviceTensor } from "../../src/runtime/device/device.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { float32ToBfloat16 } from "../../src/tensor/half.js";
import { elementCount } from "../../src/tensor/shape.js";
import { groups } from "../support/engine-rig.js";
import { hostData } from "../support/host-data.js";
import { stackOf } from "../support/stacked-inputs.js";

const modules = groups.flatMap(({ parts }) => parts);
const unitBytes = tileBytes(groups);

/** Numbers that tell where they belong; one module left out; every third adapter has gains. */
function adapterOf(id: number, rank: number): HostAdapter {
  const hasGains = id % 3 === 2;
  const own = new Map<string, HostModule>();
  for (const [m, { path, inFeatures, outFeatures }] of modules.entries()) {
    if (m === id % 4) continue;
    const moduleRank = Math.max(1, rank - m);
    const fill = (length: number, kind: number) =>
      Float32Array.from({ length }, (_, i) => ((id * 131 + m * 17 + kind * 7 + i) % 251) / 8 + 0.125);
    const [a, b] = [fill(inFeatures * moduleRank, 1), fill(moduleRank * outFeatures, 2)];
    const isHalf = id % 2 === 1;
    const module: HostModule = {
      rank: moduleRank,
      dtype: isHalf ? "BF16" : "F32",
      a: isHalf ? float32ToBfloat16(a) : a,
      b: isHalf ? float32ToBfloat16(b) : b,
      scale: 1.5,
    };
    own.set(path, hasGains ? { ...module, gain: fill(outFeatures, 3) } : module);
  }
  return { digest: `sha256:${id}`, rank, bytes: 1, hasGains, modules: own };
}

/** A row with this hold multiplies by exactly the adapter's tiles, laid out as in the inputs of the graph's own tests. */
function assertHolds(bank: StackedBank, hold: BankHold, adapter: HostAdapter): void {
  const tensors = new Map<string, DeviceTensor>(bank.inputs(new Set([hold.place]), adapter.hasGains));
  const owners = tensors.get(stackedInputs.tilePlaces);
  assert.ok(owners instanceof Tensor);
  const tiles = [...(owners.data as Int32Array)].flatMap((place, tile) => (place === hold.place ? [tile] : []));
  assert.equal(tiles.length, Math.ceil(adapter.rank / tileRanks));
  const { first, count } = bank.tilesOf(hold.place);
  assert.deepEqual(
    tiles,
    Array.from({ length: count }, (_, i) => first + i),
  );
  const expected = stackOf({ groups, hasGains: adapter.hasGains }, [adapter]).picked(0);
  for (const group of groups) {
    const { a, b } = tileShapes(group);
    for (const [name, shape] of [
      [stackedA(group.key), a],
      [stackedB(group.key), b],
    ] as const) {
      const size = elementCount(shape);
      const found = hostData(tensors.get(name)).subarray(first * size, (first + count) * size);
      assert.deepEqual(found, expected[name]?.data, name);
    }
    if (!adapter.hasGains) continue;
    const width = groupOutputs(group);
    const gains = hostData(tensors.get(stackedGain(group.key))).subarray((1 + hold.place) * width);
    assert.deepEqual(gains.slice(0, width), expected[stackedGain(group.key)]?.data.slice(width), "gains");
  }
}

const bankOf = (units: number, places = 4): StackedBank =>
  new StackedBank({ groups, places, maxBytes: units * unitBytes, device: cpu });

async function take(bank: StackedBank, adapter: HostAdapter): Promise<BankHold> {
  const hold = await bank.acquire(adapter);
  assert.ok(hold, `there is room for ${adapter.digest}`);
  assertHolds(bank, hold, adapter);
  return hold;
}

test("StackedBank: adapters of any ranks lie side by side, and each pays for its own alone", async () => {
  const bank = bankOf(100);
  const [small, large] = [adapterOf(0, 3), adapterOf(1, 60)];
  const holds = [await take(bank, small), await take(bank, large)];
  assert.equal(bank.bytes, 9 * unitBytes);
  assert.equal((await take(bank, small)).place, holds[0]?.place, "who is resident is not written again");
  assert.equal(bank.holds, 3);
});

test("StackedBank: an idle adapter stays until its room is wanted, the longest idle goes first", async () => {
  const bank = bankOf(3);
  for (const id of [0, 1, 3]) (await take(bank, adapterOf(id, 8))).release();
  (await take(bank, adapterOf(0, 8))).release();
  const held = await take(bank, adapterOf(4, 8));
  assert.deepEqual(new Set(bank.digests), new Set(["sha256:0", "sha256:3", "sha256:4"]));
  for (const id of [6, 7]) await take(bank, adapterOf(id, 8));
  assert.equal(await bank.acquire(adapterOf(8, 4)), null, "what is held does not go");
  held.release();
  await take(bank, adapterOf(9, 4));
  await assert.rejects(bank.acquire(adapterOf(3, 25)), { code: "adapter_too_large", allowed: 3 * unitBytes });
});

test("StackedBank: gains count towards an adapter's bytes, and a place that had some has ones afterwards", async () => {
  const bank = new StackedBank({ groups, places: 1, maxBytes: unitBytes + gainBytes(groups), device: cpu });
  const gained = await take(bank, adapterOf(2, 8));
  assert.equal(bank.bytes, unitBytes + gainBytes(groups));
  gained.release();
  const plain = await take(bank, adapterOf(4, 8));
  assert.equal(plain.place, gained.place);
  const inputs = new Map<string, DeviceTensor>(bank.inputs(new Set([plain.place]), true));
  for (const { key } of groups) assert.ok(hostData(inputs.get(stackedGain(key))).every((gain) => gain === 1));
});

test("StackedBank: the last adapter moves into a hole when steps then read half as much", async () => {
  const bank = bankOf(16);
  const holds = await Promise.all([0, 1, 3].map((id) => bank.acquire(adapterOf(id, 8))));
  assert.ok(!bank.scattered);
  holds[0]?.release();
  holds[1]?.release();
  assert.ok(bank.scattered);
  assert.ok(await bank.compact());
  assert.ok(!bank.scattered && !(await bank.compact()));
  const last = holds[2];
  assert.ok(last);
  assertHolds(bank, last, adapterOf(3, 8));
  assert.deepEqual(bank.digests, ["sha256:3", "sha256:1"], "what was idle and not in the way stays");
});

test("StackedBank: after any sequence of acquiring, releasing and moving every hold has its adapter's tiles", async () => {
  const action = fc.record({
    kind: fc.constantFrom("acquire", "acquire", "release", "compact"),
    id: fc.integer({ min: 0, max: 9 }),
    index: fc.nat(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
      const bank = bankOf(20);
      const held: { hold: BankHold; adapter: HostAdapter }[] = [];
      for (const { kind, id, index } of actions) {
        if (kind === "compact") await bank.compact();
        else if (kind === "release") held.splice(index % Math.max(1, held.length), 1)[0]?.hold.release();
        else {
          const adapter = adapterOf(id, 1 + ((id * 7) % 40));
          const hold = await bank.acquire(adapter);
          if (hold) held.push({ hold, adapter });
        }
        for (const { hold, adapter } of held) assertHolds(bank, hold, adapter);
        assert.equal(bank.holds, held.length);
        assert.ok(bank.bytes <= 20 * unitBytes);
      }
    }),
    { numRuns: 60, seed: 5, includeErrorInReport: true },
  );
});
