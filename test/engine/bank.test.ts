/** The adapter bank: after any acquiring, releasing and moving, each hold's place has its adapter's numbers with zeros around them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { HostAdapter, HostModule } from "../../src/adapter/types.js";
import { AdapterBank, type BankHold } from "../../src/engine/adapters/bank.js";
import { BankClass, placeBytes } from "../../src/engine/adapters/bank-class.js";
import { type GainStack, gainBytes } from "../../src/engine/adapters/gain-stack.js";
import { sliceElements } from "../../src/engine/adapters/slices.js";
import type { ModuleGroup } from "../../src/model/serving/adapters.js";
import { tileColumns, tilesOf } from "../../src/model/serving/rank-tiles.js";
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "../../src/tensor/half.js";
import { groups } from "../support/engine-rig.js";
import { hostData } from "../support/host-data.js";

const tiedHead = { path: "tied", inFeatures: 4, outFeatures: 9 };
const headGroups: readonly ModuleGroup[] = [{ key: "tied", inFeatures: 4, parts: [tiedHead] }];
const modules = [...groups, ...headGroups].flatMap(({ parts }) => parts);

/** Numbers that tell where they belong; some modules left out, some of a smaller rank, all dtypes. */
function adapterOf(id: number, rank: number): HostAdapter {
  const own = new Map<string, HostModule>();
  for (const [s, { path, inFeatures, outFeatures }] of modules.entries()) {
    if ((id + s) % 4 === 3) continue;
    const moduleRank = s === 0 ? rank : Math.max(1, rank - ((id + s) % 3));
    const fill = (length: number, kind: number) =>
      Float32Array.from({ length }, (_, i) => ((id * 131 + s * 17 + kind * 7 + i) % 251) / 8 + 0.125);
    const a = fill(inFeatures * moduleRank, 1);
    const b = fill(moduleRank * outFeatures, 2);
    const dtype = (["F32", "F16", "BF16"] as const)[(id + s) % 3] ?? "F32";
    const encode = { F32: (x: Float32Array) => x, F16: float32ToFloat16, BF16: float32ToBfloat16 }[dtype];
    const module = { rank: moduleRank, dtype, a: encode(a), b: encode(b), scale: dtype === "F32" ? 1 : 1.5 };
    own.set(path, isDora(id) ? { ...module, gain: fill(outFeatures, 3) } : module);
  }
  return { digest: `sha256:${id}`, rank, bytes: 1, hasGains: isDora(id), modules: own };
}

/** Of the ids up to nine: two. */
const isDora = (id: number): boolean => id === 7 || id === 9;

const widen = (values: Float32Array | Uint16Array, dtype: HostModule["dtype"]): Float32Array =>
  values instanceof Float32Array ? values : dtype === "F16" ? float16ToFloat32(values) : bfloat16ToFloat32(values);

/** Compares a hold's place with the adapter's own tensors: padding is zero, the scale is in B. */
function assertHolds(bank: AdapterBank, hold: BankHold, adapter: HostAdapter): void {
  assertStacks(bank.memory(hold.rankClass), bank.gains.layers, groups, hold, adapter);
  if (hold.adaptsTiedHead) assertStacks(bank.head(hold.rankClass), bank.gains.head, headGroups, hold, adapter);
}

function assertStacks(
  memory: BankClass,
  stack: GainStack,
  groups: readonly ModuleGroup[],
  hold: BankHold,
  adapter: HostAdapter,
): void {
  const { rank } = memory;
  assert.ok(rank >= adapter.rank);
  const { tiles, columns } = tilesOf(rank);
  assert.ok(columns <= tileColumns, "no tile is wider than the kernels' narrowest block");
  const tensors = new Map(memory.view(hold.place, 1));
  const gains = new Map(stack.inputs());
  assert.equal(hold.gain !== null, adapter.hasGains);
  for (const { key, inFeatures, parts } of groups) {
    const a = hostData(tensors.get(`lora_A.${key}.0`));
    assert.equal(a?.length, inFeatures * rank * parts.length);
    for (const [p, { path, outFeatures }] of parts.entries()) {
      const module = adapter.modules.get(path);
      const own = module ? widen(module.a, module.dtype) : new Float32Array(0);
      for (let row = 0; row < inFeatures; row++) {
        for (let r = 0; r < rank; r++) {
          const expected = module && r < module.rank ? own[row * module.rank + r] : 0;
          const tile = (p * tiles + Math.floor(r / columns)) * inFeatures + row;
          assert.equal(a?.[tile * columns + (r % columns)], expected, `${adapter.digest}: A of ${path}`);
        }
      }
      if (hold.gain !== null) {
        const gain = hostData(gains.get(`dora_gain.${path}`)).subarray(
          hold.gain * outFeatures,
          (hold.gain + 1) * outFeatures,
        );
        assert.deepEqual(gain, module?.gain ?? new Float32Array(outFeatures), `${adapter.digest}: gains of ${path}`);
      }
      const b = hostData(tensors.get(`lora_B.${path}.0`));
      assert.equal(b?.length, rank * outFeatures);
      const values = module ? widen(module.b, module.dtype) : new Float32Array(0);
      for (let i = 0; i < rank * outFeatures; i++) {
        const expected = module && i < values.length ? Math.fround((values[i] ?? 0) * module.scale) : 0;
        assert.equal(b?.[i], expected, `${adapter.digest}: B of ${path} at ${i}`);
      }
    }
  }
}

const bankOf = (places: number, maxBytes = 1 << 24): AdapterBank => new AdapterBank({ groups, places, maxBytes });

async function take(bank: AdapterBank, adapter: HostAdapter): Promise<BankHold> {
  const hold = await bank.acquire(adapter);
  assert.ok(hold, `there is room for ${adapter.digest}`);
  return hold;
}

test("an adapter is resident once, however many hold it, and stays until its space is needed", async () => {
  const bank = bankOf(2);
  const adapter = adapterOf(1, 5);
  const [one, two] = await Promise.all([take(bank, adapter), take(bank, adapter)]);
  assert.deepEqual([one.place, bank.holds, bank.digests.length], [two.place, 2, 1]);
  assert.equal(bank.bytes, placeBytes(groups, 8), "5 is padded to 8");
  one.release();
  two.release();
  assert.throws(() => one.release(), { code: "internal" }, "a hold is released once");
  assert.deepEqual([bank.holds, bank.digests], [0, ["sha256:1"]]);
});

test("two rank classes: near ranks share one, a far larger one gets its own, a third grows or shares", async () => {
  const bank = bankOf(4);
  const small = await take(bank, adapterOf(1, 8));
  assert.equal(bank.memory(small.rankClass).rank, 8);
  const large = await take(bank, adapterOf(2, 64));
  assert.notEqual(large.rankClass, small.rankClass);
  assert.equal(bank.memory(large.rankClass).rank, 64);
  const near = await take(bank, adapterOf(3, 40));
  assert.equal(near.rankClass, large.rankClass, "40 goes where at most twice its rank is padded to");
  const middle = await take(bank, adapterOf(4, 16));
  assert.equal(
    middle.rankClass,
    large.rankClass,
    "16 does not fit 8, and both classes are in use: the larger one takes it",
  );
  const huge = await take(bank, adapterOf(5, 100));
  assert.equal(huge.rankClass, large.rankClass);
  assert.equal(bank.memory(large.rankClass).rank, 112, "the largest class grew");
  for (const [hold, id, rank] of [
    [small, 1, 8],
    [large, 2, 64],
    [near, 3, 40],
    [middle, 4, 16],
    [huge, 5, 100],
  ] as const) {
    assertHolds(bank, hold, adapterOf(id, rank));
  }
});

test("an unused class is rebuilt for a rank that fits no other", async () => {
  const bank = bankOf(4);
  const large = await take(bank, adapterOf(1, 64));
  (await take(bank, adapterOf(2, 8))).release();
  const middle = await take(bank, adapterOf(3, 9));
  assert.notEqual(middle.rankClass, large.rankClass);
  assert.equal(bank.memory(middle.rankClass).rank, 16, "9 is padded to a whole tile");
  assert.ok(!bank.digests.includes("sha256:2"));
});

test("an adapter that never fits is refused with both sizes; one that does not fit now gets null", async () => {
  const bank = bankOf(4, placeBytes(groups, 16));
  await assert.rejects(bank.acquire(adapterOf(1, 17)), {
    code: "adapter_too_large",
    found: placeBytes(groups, 32),
    allowed: placeBytes(groups, 16),
  });
  const [one, two] = [await take(bank, adapterOf(2, 8)), await take(bank, adapterOf(3, 8))];
  assert.equal(await bank.acquire(adapterOf(4, 8)), null);
  assert.equal(await bank.acquire(adapterOf(5, 16)), null);
  assertHolds(bank, one, adapterOf(2, 8));
  assertHolds(bank, two, adapterOf(3, 8));
  one.release();
  await take(bank, adapterOf(4, 8));
  assert.deepEqual([...bank.digests].sort(), ["sha256:3", "sha256:4"]);
});

test("a DoRA adapter's gains count towards its bytes", async () => {
  const bank = bankOf(4, placeBytes(groups, 8) + gainBytes(groups));
  assert.equal(gainBytes(groups), 4 * (4 + 2 + 3));
  await assert.rejects(bankOf(4, placeBytes(groups, 8)).acquire(adapterOf(7, 8)), {
    code: "adapter_too_large",
    found: placeBytes(groups, 8) + gainBytes(groups),
  });
  const hold = await take(bank, adapterOf(7, 8));
  assert.equal(bank.bytes, placeBytes(groups, 8) + gainBytes(groups));
  assertHolds(bank, hold, adapterOf(7, 8));
  hold.release();
  const plain = await take(bank, adapterOf(1, 8));
  assert.deepEqual([bank.bytes, plain.gain], [placeBytes(groups, 8), null], "the first was given up for it");
});

test("the longest idle adapter is evicted first", async () => {
  const bank = bankOf(8, 3 * placeBytes(groups, 8));
  for (const id of [1, 2, 3]) (await take(bank, adapterOf(id, 8))).release();
  (await take(bank, adapterOf(1, 8))).release();
  (await take(bank, adapterOf(4, 8))).release();
  assert.deepEqual([...bank.digests].sort(), ["sha256:1", "sha256:3", "sha256:4"]);
});

test("compact fills holes from the window's end; the hold follows, with its gains and what it changes of a tied head", async () => {
  const bank = new AdapterBank({ groups, tiedHead, places: 5, maxBytes: 1 << 24 });
  const holds: BankHold[] = [];
  const ids = [0, 1, 2, 9, 7];
  for (const id of ids) holds.push(await take(bank, adapterOf(id, 8)));
  assert.ok(holds.slice(3).every(({ adaptsTiedHead, gain }) => adaptsTiedHead && gain !== null));
  assert.equal(bank.scattered, false);
  for (const [i, hold] of holds.entries()) if (i === 1 || i === 2) hold.release();
  assert.equal(bank.scattered, true);
  assert.equal(await bank.compact(), true);
  assert.equal(await bank.compact(), true, "one move a call");
  assert.equal(bank.scattered, false);
  assert.equal(await bank.compact(), false);
  const kept = [0, 3, 4].map((i) => [ids[i] as number, holds[i] as BankHold] as const);
  assert.deepEqual(
    kept.map(([, { place }]) => place),
    [0, 2, 1],
    "the last goes into the first hole, which makes its neighbour the last",
  );
  for (const [id, hold] of kept) assertHolds(bank, hold, adapterOf(id, 8));
});

test("any order of acquires, releases and compactions: every hold's memory is its adapter's, a tied head's too, and the bytes stay bounded", async () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("acquire" as const), id: fc.integer({ min: 0, max: 9 }) }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("release" as const), id: fc.integer({ min: 0, max: 99 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const), id: fc.constant(0) }) },
  );
  const ranks = fc.array(fc.constantFrom(1, 4, 8, 9, 16, 24, 31, 40), { minLength: 10, maxLength: 10 });
  const room = fc.integer({ min: 6, max: 30 });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), ranks, room, async (steps, ranksOf, units) => {
      const all = [...groups, ...headGroups];
      const maxBytes = units * placeBytes(all, 8) + gainBytes(all);
      const bank = new AdapterBank({ groups, tiedHead, places: 4, maxBytes });
      const held: { hold: BankHold; adapter: HostAdapter }[] = [];
      const pending: Promise<void>[] = [];
      for (const { kind, id } of steps) {
        if (kind === "acquire") {
          const adapter = adapterOf(id, ranksOf[id] ?? 8);
          pending.push(
            bank.acquire(adapter).then((hold) => {
              if (hold) held.push({ hold, adapter });
            }),
          );
          if (id % 2 === 0) await Promise.all(pending); // others overlap
        } else if (kind === "release") held.splice(id % Math.max(1, held.length), 1)[0]?.hold.release();
        else await bank.compact();
        assert.ok(bank.bytes <= maxBytes, `${bank.bytes} of ${maxBytes} bytes`);
      }
      await Promise.all(pending);
      for (const { hold, adapter } of held) {
        assert.equal(hold.adaptsTiedHead, adapter.modules.has("tied"));
        assertHolds(bank, hold, adapter);
      }
      assert.equal(bank.holds, held.length);
      const places = new Map(held.map(({ hold }) => [`${hold.rankClass}/${hold.place}`, hold.digest]));
      for (const { hold } of held) assert.equal(places.get(`${hold.rankClass}/${hold.place}`), hold.digest);
      for (const { hold } of held) hold.release();
      assert.equal(bank.holds, 0);
      await take(bank, adapterOf(20, 40)); // once nobody holds anything, whatever fits at all has room
    }),
    { numRuns: 150, seed: 5, includeErrorInReport: true },
  );
});

test("a large adapter is copied in slices, and resident ones do not wait for it", async () => {
  const wide: ModuleGroup[] = [
    { key: "w", inFeatures: 300, parts: [{ path: "w", inFeatures: 300, outFeatures: 500 }] },
  ];
  const large = (digest: string, rank: number, dtype: "F32" | "BF16"): HostAdapter => {
    const numbers = (length: number) => {
      const values = Float32Array.from({ length }, (_, i) => (i % 251) - 125);
      return dtype === "F32" ? values : float32ToBfloat16(values);
    };
    const module: HostModule = { rank, dtype, a: numbers(300 * rank), b: numbers(rank * 500), scale: 2 };
    return { digest, rank, bytes: 0, hasGains: false, modules: new Map([["w", module]]) };
  };
  const sliced = await BankClass.create(wide, 2, 1024);
  let pauses = 0;
  const pause = async () => void pauses++;
  const elements = 1024 * (300 + 500);
  for (const dtype of ["F32", "BF16"] as const) {
    pauses = 0;
    await sliced.write(0, large("a", 1000, dtype), pause);
    assert.ok(pauses >= Math.floor(elements / sliceElements), `${pauses} pauses for ${elements} numbers of ${dtype}`);
  }
  const grown = await BankClass.create(wide, 2, 1152);
  for (const [source, target] of [
    [sliced, sliced],
    [sliced, grown],
  ] as const) {
    pauses = 0;
    await target.copyFrom(source, 0, 1, pause);
    assert.ok(pauses >= Math.floor(elements / sliceElements), `${pauses} pauses for a copy`);
  }
  const bank = new AdapterBank({ groups: wide, places: 3, maxBytes: 1 << 28 });
  const small = large("small", 8, "F32");
  const order: string[] = [];
  const first = await bank.acquire(small);
  const copying = bank.acquire(large("large", 1000, "BF16")).then((hold) => {
    order.push("large");
    return hold;
  });
  const again = await bank.acquire(small);
  order.push("small");
  assert.ok(!bank.digests.includes("large"), "no step sees half an adapter");
  (await copying)?.release();
  assert.deepEqual(order, ["small", "large"]);
  first?.release();
  again?.release();
  assert.equal(bank.holds, 0);
});

test("an adapter too large to move between two steps stays in its place", async () => {
  const wide: ModuleGroup[] = [
    { key: "w", inFeatures: 3000, parts: [{ path: "w", inFeatures: 3000, outFeatures: 3000 }] },
  ];
  const adapter = (digest: string): HostAdapter => ({
    digest,
    rank: 1500,
    bytes: 0,
    hasGains: false,
    modules: new Map(),
  });
  const bank = new AdapterBank({ groups: wide, places: 3, maxBytes: 1 << 30 });
  const holds = [];
  for (const digest of ["a", "b", "c"]) holds.push(await bank.acquire(adapter(digest)));
  holds[1]?.release();
  assert.deepEqual([bank.scattered, await bank.compact()], [false, false]);
  holds[0]?.release();
  holds[2]?.release();
});
