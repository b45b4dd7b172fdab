/**
 * Rows of tensors on a device whose views all begin at the start: a row is moved by kernels, for all tensors in one run, through
 * staged tensors of a few rows.
 */
import { assert } from "../../base/errors.js";
import { GraphBuilder } from "../../graph/builder.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { Value } from "../../graph/types.js";
import { type Binding, Session } from "../session.js";
import { Tensor, type TensorArray, type TensorType } from "../tensor.js";
import type { Device, DeviceRows, DeviceTensor } from "./device.js";

interface Entry {
  readonly type: TensorType;
  readonly row: readonly number[];
  readonly tensor: DeviceTensor;
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
    this.#entries.set(name, { type, row, tensor, stage: null, layout: null });
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
    binding.input("to", Tensor.from("int64", [1, 1], BigInt64Array.of(BigInt(to))));
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
    const rows = BigInt64Array.from({ length: count }, (_, i) => BigInt(first + i));
    binding.input("to", Tensor.from("int64", [count, 1], rows));
    for (const [name, tensor] of stage) binding.input(`part.${name}`, tensor);
    await session.run(binding);
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
    for (const [name, { tensor }] of this.#entries) {
      binding.input(`rows.${name}`, tensor);
      if (kind !== "load") binding.output(`next.${name}`, tensor);
    }
    const step = { session, binding };
    this.#steps.set(kind, step);
    return step;
  }

  /** `load` gathers a row into parts, `store` scatters parts into rows, in place, and `copy` does both. */
  #graph(kind: Kind): Uint8Array {
    const builder = new GraphBuilder(`rows.${kind}`);
    const from = kind === "store" ? null : builder.input("from", "int32", [1]);
    const to = kind === "load" ? null : builder.input("to", "int64", [kind === "copy" ? 1 : "moved", 1]);
    for (const [name, { type, row }] of this.#entries) {
      const shape = [this.count, ...row];
      const whole = builder.input(`rows.${name}`, type, shape);
      const output = (value: Value | undefined): void => {
        if (value) builder.output(value);
      };
      const partName = `part.${name}`;
      const [part] = from
        ? builder.node(
            "Gather",
            [whole, from],
            [{ type, shape: [1, ...row], ...(kind === "load" ? { name: partName } : {}) }],
            { axis: 0 },
          )
        : [builder.input(partName, type, ["moved", ...row])];
      if (!to || !part) output(part);
      else output(builder.node("ScatterND", [whole, to, part], [{ type, shape, name: `next.${name}` }])[0]);
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
    for (const { tensor } of this.#entries.values()) tensor[Symbol.dispose]();
    this.#entries.clear();
  }
}
