/** The contract of every device, whatever its memory is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Device, DeviceTensor } from "../../src/runtime/device/device.js";
import { Tensor } from "../../src/runtime/tensor.js";

const numbers = (count: number, first = 1): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => first + i);

const host = (shape: readonly number[], data: Float32Array<ArrayBuffer>): Tensor<"float32"> =>
  Tensor.from("float32", shape, data);

/** `open` opens the device, or returns null with a message that says why there is none. */
export function deviceContract(name: string, open: () => Promise<Device>, skip: string | false = false): void {
  const check = (promise: string, body: (device: Device) => Promise<void>): void => {
    test(`${name}: ${promise}`, { skip }, async () => {
      const device = await open();
      await device.turn(() => body(device));
    });
  };

  const read = async (device: Device, tensor: DeviceTensor): Promise<number[]> => {
    const out = Tensor.zeros("float32", tensor.shape);
    await device.download(tensor, out);
    return [...out.data];
  };

  check("fresh tensors are zero", async (device) => {
    using tensor = device.allocate("float32", [5, 7]);
    assert.deepEqual(await read(device, tensor), new Array(35).fill(0));
  });

  check("what is uploaded is downloaded again, whole and in part", async (device) => {
    using tensor = device.allocate("float32", [4, 8]);
    using other = device.allocate("float32", [8]);
    await device.upload([
      [host([4, 8], numbers(32)), tensor],
      [host([8], numbers(8, 100)), other],
    ]);
    assert.deepEqual(await read(device, tensor), [...numbers(32)]);
    assert.deepEqual(await read(device, other), [...numbers(8, 100)]);
    const start = Tensor.zeros("float32", [8]);
    await device.download(tensor, start);
    assert.deepEqual([...start.data], [...numbers(8)]);
    await device.upload([[host([4], numbers(4, 50)), tensor]]);
    assert.deepEqual(await read(device, tensor), [...numbers(4, 50), ...numbers(28, 5)]);
  });

  check("views of the start share memory", async (device) => {
    using tensor = device.allocate("float32", [4, 8]);
    await device.upload([[host([4, 8], numbers(32)), tensor]]);
    const two = tensor.prefix(2);
    assert.deepEqual(two.shape, [2, 8]);
    assert.deepEqual(await read(device, two), [...numbers(16)]);
    const flat = tensor.as([3, 4]);
    assert.deepEqual(await read(device, flat), [...numbers(12)]);
    await device.upload([[host([4], numbers(4, 50)), flat]]);
    assert.deepEqual(await read(device, two), [...numbers(4, 50), ...numbers(12, 5)]);
    for (const view of [two, flat]) view[Symbol.dispose]();
    assert.throws(() => tensor.prefix(5), { code: "internal" });
  });

  check("a view begins inside a tensor, or says that it cannot", async (device) => {
    using tensor = device.allocate("float32", [4, 8]);
    await device.upload([[host([4, 8], numbers(32)), tensor]]);
    if (device.capabilities.offsetViews) assert.deepEqual(await read(device, tensor.as([2], 9)), [10, 11]);
    else assert.throws(() => tensor.as([2], 9), { code: "internal" });
  });

  const rowsOf = (device: Device) => {
    const rows = device.rows(4);
    rows.add("a", "float32", [2, 3, 4]);
    rows.add("b", "float32", [2, 3, 8]);
    return rows;
  };
  const content = async (device: Device, rows: ReturnType<typeof rowsOf>, name: string): Promise<number[][]> => {
    await rows.settle(rows.count);
    const all = await read(device, rows.view(name, 0, rows.count));
    return Array.from({ length: rows.count }, (_, row) =>
      all.slice((row * all.length) / rows.count, ((row + 1) * all.length) / rows.count),
    );
  };
  const lay = async (rows: ReturnType<typeof rowsOf>, first: number, count: number, start: number): Promise<void> => {
    rows.layout("a", "float32", first, count).set(numbers(24 * count, start));
    rows.layout("b", "float32", first, count).set(numbers(48 * count, start));
    await rows.write(first, count);
  };
  const zeros = (count: number) => new Array<number>(count).fill(0);

  check("rows are written, one or several", async (device) => {
    using rows = rowsOf(device);
    assert.deepEqual(rows.names, ["a", "b"]);
    await lay(rows, 2, 1, 1000);
    await lay(rows, 0, 2, 2000);
    assert.deepEqual(await content(device, rows, "a"), [
      [...numbers(24, 2000)],
      [...numbers(24, 2024)],
      [...numbers(24, 1000)],
      zeros(24),
    ]);
    assert.deepEqual((await content(device, rows, "b"))[2], [...numbers(48, 1000)]);
  });

  check("a row is copied, and a copy of a part has at least that part", async (device) => {
    using rows = rowsOf(device);
    await lay(rows, 1, 1, 1000);
    await rows.copy(1, 3);
    assert.deepEqual((await content(device, rows, "b"))[3], [...numbers(48, 1000)]);
    await lay(rows, 1, 1, 5000);
    await rows.copy(1, 3, { axis: 2, count: 2 });
    const [, from = [], , to = []] = await content(device, rows, "a");
    for (const [i, value] of to.entries()) {
      if (Math.floor(i / 4) % 3 < 2) assert.equal(value, from[i], `element ${i}`);
    }
    assert.deepEqual((await content(device, rows, "a"))[0], zeros(24), "no other row");
  });

  check("a row is cleared, and its neighbours are not", async (device) => {
    using rows = rowsOf(device);
    await lay(rows, 0, 3, 1000);
    await rows.clear(1);
    assert.deepEqual(await content(device, rows, "a"), [
      [...numbers(24, 1000)],
      zeros(24),
      [...numbers(24, 1048)],
      zeros(24),
    ]);
  });

  check("a row that was entered is changed in place", async (device) => {
    using rows = rowsOf(device);
    await lay(rows, 0, 4, 1000);
    for (const row of [2, 0, 3]) {
      const own = await rows.enter(row, false);
      const a = own.get("a");
      assert.ok(a);
      assert.deepEqual(a.shape, [1, 2, 3, 4]);
      assert.deepEqual(await read(device, a), [...numbers(24, 1000 + 24 * row)]);
      await device.upload([[host([24], numbers(24, 10 * row)), a]]);
    }
    assert.deepEqual(await content(device, rows, "a"), [
      [...numbers(24, 0)],
      [...numbers(24, 1024)],
      [...numbers(24, 20)],
      [...numbers(24, 30)],
    ]);
    const fresh = (await rows.enter(1, true)).get("b");
    assert.ok(fresh);
    await device.upload([[host([48], numbers(48, 7)), fresh]]);
    await rows.copy(1, 2);
    assert.deepEqual((await content(device, rows, "b"))[2], [...numbers(48, 7)], "as it was entered last");
    const kept = (await rows.enter(1, false)).get("b");
    assert.ok(kept);
    assert.deepEqual(await read(device, kept), [...numbers(48, 7)]);
  });
}

/** What is not done within a turn: a turn takes no other. */
export function turnContract(name: string, open: () => Promise<Device>, skip: string | false = false): void {
  test(`${name}: a turn that fails does not end the next`, { skip }, async () => {
    const device = await open();
    await assert.rejects(
      device.turn(() => Promise.reject(new Error("no"))),
      /no/,
    );
    assert.equal(await device.turn(async () => 4), 4);
  });
}
