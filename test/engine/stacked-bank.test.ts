/** The adapter pool of a card: whatever is acquired, released and moved, an adapter's ranks have its numbers and no others are its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { HostAdapter, HostModule } from "../../src/adapter/types.js";
import { at } from "../../src/base/list.js";
import type { BankHold } from "../../src/engine/adapters/bank.js";
import { gainBytes } from "../../src/engine/adapters/gain-stack.js";
import { rankBytes } from "../../src/engine/adapters/rank-stack.js";
import { StackedBank } from "../../src/engine/adapters/stacked-bank.js";
import { cpu } from "../../src/runtime/device/cpu.js";
import type { DeviceTensor } from "../../src/runtime/device/device.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { bfloat16ToFloat32, float32ToBfloat16 } from "../../src/tensor/half.js";
import { groups } from "../support/engine-rig.js";
import { hostData } from "../support/host-data.js";

const modules = groups.flatMap(({ parts }) => parts);
const unitBytes = 8 * rankBytes(groups);

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

const widened = ({ dtype }: HostModule, values: Float32Array | Uint16Array): Float32Array =>
  dtype === "BF16" ? bfloat16ToFloat32(values as Uint16Array) : (values as Float32Array);

/** A row with this hold multiplies by exactly the adapter's ranks. */
function assertHolds(bank: StackedBank, hold: BankHold, adapter: HostAdapter): void {
  const tensors = new Map<string, DeviceTensor>(bank.inputs(new Set([hold.place]), adapter.hasGains));
  const owners = tensors.get("rank_places");
  assert.ok(owners instanceof Tensor);
  const ranks = [...(owners.data as Int32Array)].flatMap((place, rank) => (place === hold.place ? [rank] : []));
  assert.equal(ranks.length, Math.ceil(adapter.rank / 8) * 8);
  for (const { path, inFeatures, outFeatures } of modules) {
    const module = adapter.modules.get(path);
    const [a, b] = [hostData(tensors.get(`lora_A.${path}`)), hostData(tensors.get(`lora_B.${path}`))];
    const own = module ? { a: widened(module, module.a), b: widened(module, module.b) } : null;
    for (const [r, rank] of ranks.entries()) {
      const isOwn = module !== undefined && own !== null && r < module.rank;
      for (let i = 0; i < inFeatures; i++) {
        assert.equal(a[rank * inFeatures + i], isOwn ? own.a[i * module.rank + r] : 0, `A of ${path}`);
      }
      for (let i = 0; i < outFeatures; i++) {
        const expected = isOwn ? Math.fround(at(own.b, r * outFeatures + i) * module.scale) : 0;
        assert.equal(b[rank * outFeatures + i], expected, `B of ${path}`);
      }
    }
    if (!adapter.hasGains) continue;
    const gains = hostData(tensors.get(`adapter_gain.${path}`)).subarray((1 + hold.place) * outFeatures);
    for (let i = 0; i < outFeatures; i++) {
      assert.equal(gains[i], module?.gain ? Math.fround(1 + at(module.gain, i)) : 1, `gain of ${path}`);
    }
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
  for (const { path } of modules) assert.ok(hostData(inputs.get(`adapter_gain.${path}`)).every((gain) => gain === 1));
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

test("StackedBank: after any sequence of acquiring, releasing and moving every hold has its adapter's ranks", async () => {
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
