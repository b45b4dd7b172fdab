/**
 * Rows of tensors on a device whose views all begin at the start: a row is moved by kernels, for all tensors in one run, through
 * staged tensors of a few rows.
 */
import { assert } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { GraphBuilder } from "../../graph/builder.js";
import { Ops } from "../../graph/ops.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { Value } from "../../graph/types.js";
import { elementCount } from "../../tensor/shape.js";
import { type Binding, Session } from "../session.js";
import { Tensor, type TensorArray, type TensorType } from "../tensor.js";
import type { Device, DeviceRows, DeviceTensor } from "./device.js";

interface Entry {
  readonly type: TensorType;
  readonly row: readonly number[];
  readonly tensor: DeviceTensor;
  /** The same memory in pieces, [rows * pieces, numbers of a piece]. */
  readonly pieces: DeviceTensor;
  /** On the device, [staged rows, ...row]. */
  stage: DeviceTensor | null;
  /** What the stage is filled from, in host memory. */
  layout: Tensor | null;
}

type Kind = "load" | "store" | "copy";

export class StagedRows implements DeviceRows {
  readonly count: number;
  readonly #device: Device;
  readonly #entries = new Map<string, Entry>();
  readonly #steps = new Map<Kind, { readonly session: Session; readonly binding: Binding }>();
  /** The first `rows` rows of the stage, by number. */
  readonly #staged = new Map<number, ReadonlyMap<string, DeviceTensor>>();
  readonly #first = new Map<string, DeviceTensor>();
  /** Rows that the stage has room for. */
  #room = 0;
  /** The row that the stage holds instead of the tensors; -1: none. */
  #entered = -1;

  readonly #assertWritable: (tensor: DeviceTensor) => void;

  /** `assertWritable` throws `device_memory` for a tensor that kernels cannot change to its end. */
  constructor(device: Device, count: number, assertWritable: (tensor: DeviceTensor) => void) {
    this.#device = device;
    this.count = count;
    this.#assertWritable = assertWritable;
  }

  get names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  add(name: string, type: TensorType, row: readonly number[]): void {
    assert(this.#steps.size === 0, "tensors are added before rows move");
    const tensor = this.#device.allocate(type, [this.count, ...row]);
    const pieces = tensor.as(inPieces(row, this.count));
    this.#entries.set(name, { type, row, tensor, pieces, stage: null, layout: null });
    this.#assertWritable(tensor);
  }

  view(name: string, first: number, count: number): DeviceTensor {
    assert(first === 0, "views of a card's rows begin at the first");
    return this.#entry(name).tensor.prefix(count);
  }

  layout<T extends TensorType>(name: string, type: T, _first: number, count: number): TensorArray<T> {
    const entry = this.#entry(name);
    assert(entry.type === type, `${name} holds ${entry.type}`);
    if ((entry.layout?.shape[0] ?? 0) < count) entry.layout = Tensor.zeros(type, [count, ...entry.row]);
    const { data, shape } = entry.layout as Tensor;
    return data.subarray(0, (data.length / (shape[0] ?? 1)) * count) as TensorArray<T>;
  }

  async write(first: number, count: number): Promise<void> {
    await this.settle(this.count);
    const stage = this.#stage(count);
    await this.#device.upload(
      [...this.#entries].map(([name, { type, row, layout }]) => {
        assert(layout, `${name} was laid out`);
        return [Tensor.over(type, [count, ...row], layout.data.buffer), this.#entry(name).stage as DeviceTensor];
      }),
    );
    await this.#store(stage, first, count);
  }

  async copy(from: number, to: number): Promise<void> {
    if (this.#entries.size === 0) return;
    await this.settle(this.count);
    const { session, binding } = await this.#step("copy");
    binding.input("from", Tensor.from("int32", [1], Int32Array.of(from)));
    this.#bindPlaces(binding, to, 1);
    await session.run(binding);
  }

  async clear(row: number): Promise<void> {
    if (this.#entries.size === 0) return;
    for (const [name, { type }] of this.#entries) this.layout(name, type, row, 1).fill(0 as never);
    await this.write(row, 1);
  }

  async enter(row: number, fresh: boolean): Promise<ReadonlyMap<string, DeviceTensor>> {
    if (row === 0) {
      await this.settle(1);
      return this.#firstRow();
    }
    const stage = this.#stage(1);
    if (this.#entered === row) return stage;
    await this.settle(this.count);
    if (!fresh && this.#entries.size > 0) {
      const { session, binding } = await this.#step("load");
      binding.input("from", Tensor.from("int32", [1], Int32Array.of(row)));
      for (const [name, tensor] of stage) binding.output(`part.${name}`, tensor);
      await session.run(binding);
    }
    this.#entered = row;
    return stage;
  }

  async settle(count: number): Promise<void> {
    const row = this.#entered;
    if (row < 0 || row >= count) return;
    this.#entered = -1;
    await this.#store(this.#stage(1), row, 1);
  }

  async #store(stage: ReadonlyMap<string, DeviceTensor>, first: number, count: number): Promise<void> {
    if (this.#entries.size === 0) return;
    const { session, binding } = await this.#step("store");
    this.#bindPlaces(binding, first, count);
    for (const [name, tensor] of stage) binding.input(`part.${name}`, tensor);
    await session.run(binding);
  }

  /** Where the pieces of rows [first, first + count) lie. */
  #bindPlaces(binding: Binding, first: number, count: number): void {
    for (const pieces of new Set([...this.#entries.values()].map(({ row }) => pieceCount(row)))) {
      const places = BigInt64Array.from({ length: count * pieces }, (_, i) => BigInt(first * pieces + i));
      binding.input(placesOf(pieces), Tensor.from("int64", [places.length, 1], places));
    }
  }

  /** Row 0 is where all tensors begin: it needs no stage. */
  #firstRow(): ReadonlyMap<string, DeviceTensor> {
    if (this.#first.size === 0) {
      for (const [name, { tensor }] of this.#entries) this.#first.set(name, tensor.prefix(1));
    }
    return this.#first;
  }

  /** Room for so many rows of each tensor. Throws `device_memory`. */
  #stage(count: number): ReadonlyMap<string, DeviceTensor> {
    if (count > this.#room) this.#growStage(count);
    const known = this.#staged.get(count);
    if (known) return known;
    const views = new Map<string, DeviceTensor>();
    for (const [name, { stage }] of this.#entries) views.set(name, (stage as DeviceTensor).prefix(count));
    this.#staged.set(count, views);
    return views;
  }

  #growStage(count: number): void {
    assert(this.#entered < 0, "a row that was entered is not in the way");
    this.#disposeStage();
    for (const entry of this.#entries.values()) entry.stage = this.#device.allocate(entry.type, [count, ...entry.row]);
    this.#room = count;
  }

  async #step(kind: Kind): Promise<{ readonly session: Session; readonly binding: Binding }> {
    const known = this.#steps.get(kind);
    if (known) return known;
    const graph = this.#graph(kind);
    const session = await Session.create(graph, { threads: 1, spinning: false, device: this.#device });
    const binding = session.bind();
    for (const [name, { tensor, pieces }] of this.#entries) {
      if (kind !== "store") binding.input(`rows.${name}`, tensor);
      if (kind === "load") continue;
      binding.input(`pieces.${name}`, pieces);
      binding.output(`next.${name}`, pieces);
    }
    const step = { session, binding };
    this.#steps.set(kind, step);
    return step;
  }

  /**
   * `load` gathers a row into parts, `store` scatters parts into rows, in place, and `copy` does both. The kernel that scatters runs one
   * thread for each index, which copies everything after it: so rows are scattered in small pieces.
   */
  #graph(kind: Kind): Uint8Array {
    const op = new Ops(new GraphBuilder(`rows.${kind}`));
    const { builder } = op;
    const from = kind === "store" ? null : builder.input("from", "int32", [1]);
    const moved = kind === "copy" ? 1 : "moved";
    const places = new Map<number, Value>();
    const placesFor = (pieces: number): Value => {
      const known = places.get(pieces) ?? builder.input(placesOf(pieces), "int64", [`${moved} * ${pieces}`, 1]);
      places.set(pieces, known);
      return known;
    };
    for (const [name, { type, row }] of this.#entries) {
      const partName = `part.${name}`;
      const gathered = (as?: string): Value | null => {
        if (!from) return null;
        const whole = builder.input(`rows.${name}`, type, [this.count, ...row]);
        const spec = { type, shape: [1, ...row], ...(as === undefined ? {} : { name: as }) };
        return at(builder.node("Gather", [whole, from], [spec], { axis: 0 }), 0);
      };
      if (kind === "load") {
        builder.output(gathered(partName) as Value);
        continue;
      }
      const part = gathered() ?? builder.input(partName, type, [moved, ...row]);
      const [, piece] = inPieces(row, 1);
      const target = builder.constant("int64", [2], [-1, piece]);
      const cut = op.one("Reshape", [part, target], type, [`${moved} * ${pieceCount(row)}`, piece]);
      const shape = inPieces(row, this.count);
      const rows = builder.input(`pieces.${name}`, type, shape);
      const inputs = [rows, placesFor(pieceCount(row)), cut];
      builder.output(at(builder.node("ScatterND", inputs, [{ type, shape, name: `next.${name}` }]), 0));
    }
    return serializeGraph(builder.build());
  }

  #entry(name: string): Entry {
    const entry = this.#entries.get(name);
    assert(entry, `the rows have ${name}`);
    return entry;
  }

  #disposeStage(): void {
    for (const views of this.#staged.values()) for (const view of views.values()) view[Symbol.dispose]();
    this.#staged.clear();
    for (const entry of this.#entries.values()) {
      entry.stage?.[Symbol.dispose]();
      entry.stage = null;
    }
    this.#room = 0;
  }

  [Symbol.dispose](): void {
    for (const { session } of this.#steps.values()) session[Symbol.dispose]();
    this.#steps.clear();
    this.#disposeStage();
    for (const view of this.#first.values()) view[Symbol.dispose]();
    this.#first.clear();
    for (const { tensor, pieces } of this.#entries.values()) {
      pieces[Symbol.dispose]();
      tensor[Symbol.dispose]();
    }
    this.#entries.clear();
  }
}

/** Numbers of a piece, at most. */
const pieceSize = 32;

/** The shape of so many rows in pieces of one size. */
function inPieces(row: readonly number[], rows: number): readonly [number, number] {
  const size = elementCount(row);
  let piece = Math.min(pieceSize, size);
  while (size % piece !== 0) piece--;
  return [(rows * size) / piece, piece];
}

const pieceCount = (row: readonly number[]): number => inPieces(row, 1)[0];

/** The input with the places of pieces, of rows with so many of them. */
const placesOf = (pieces: number): string => `places.${pieces}`;
