/**
 * Proves that a card has the memory that it says it has. The provider logs that an allocation failed and answers that all is
 * well; only kernels that touch the memory tell. They look at a tensor's end: a copy reaches only its beginning.
 */
import { GraphBuilder } from "../../graph/builder.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { Value } from "../../graph/types.js";
import { type Binding, Session } from "../session.js";
import { Tensor, tensorBytes } from "../tensor.js";
import type { Device, DeviceTensor } from "./device.js";

/** Elements of the marker, at the end of a tensor seen as rows of so many. */
const width = 16;

interface Step {
  readonly session: Session;
  readonly binding: Binding;
}

export class MemoryMarker implements Disposable {
  readonly #write: Step;
  readonly #read: Step;
  readonly #viewOf: (tensor: DeviceTensor, shape: readonly number[]) => DeviceTensor;

  private constructor(write: Step, read: Step, view: (tensor: DeviceTensor, shape: readonly number[]) => DeviceTensor) {
    this.#write = write;
    this.#read = read;
    this.#viewOf = view;
  }

  /** In a turn. `view` gives the beginning of a tensor's memory as float32. */
  static async create(
    device: Device,
    view: (tensor: DeviceTensor, shape: readonly number[]) => DeviceTensor,
  ): Promise<MemoryMarker> {
    const open = async (name: string, add: (builder: GraphBuilder, rows: Value) => readonly Value[]): Promise<Step> => {
      const builder = new GraphBuilder(name);
      for (const value of add(builder, builder.input("rows", "float32", ["rows", width]))) builder.output(value);
      const session = await Session.create(serializeGraph(builder.build()), { threads: 1, spinning: false, device });
      return { session, binding: session.bind() };
    };
    const write = await open("mark", (builder, rows) => {
      const to = builder.input("to", "int64", [1, 1]);
      const part = builder.input("part", "float32", [1, width]);
      return builder.node("ScatterND", [rows, to, part], [{ type: "float32", shape: ["rows", width], name: "out" }]);
    });
    const read = await open("read", (builder, rows) => {
      const from = builder.input("from", "int32", [1]);
      return builder.node("Gather", [rows, from], [{ type: "float32", shape: [1, width], name: "part" }], { axis: 0 });
    });
    return new MemoryMarker(write, read, view);
  }

  /** A session that lives as long as the marker. */
  get session(): Session {
    return this.#write.session;
  }

  /** Whether the end of a fresh tensor can be read: whether it has memory. */
  exists(tensor: DeviceTensor): boolean {
    return this.#check(tensor, (view, last) => this.#find(view, last).every((value) => value === 0));
  }

  /**
   * Whether the end of a tensor keeps what a kernel scatters there; leaves zeros. Behind the first binding of a very large tensor
   * kernels still read, but what they scatter is dropped without a word.
   */
  holds(tensor: DeviceTensor): boolean {
    const marker = Float32Array.from({ length: width }, () => Math.random());
    return this.#check(tensor, (view, last) => {
      this.#mark(view, last, marker);
      const found = this.#find(view, last);
      this.#mark(view, last, new Float32Array(width));
      return found.every((value, i) => value === marker[i]);
    });
  }

  #check(tensor: DeviceTensor, passes: (view: DeviceTensor, lastRow: number) => boolean): boolean {
    const rows = Math.floor(tensorBytes(tensor.type, tensor.shape) / (4 * width));
    try {
      using view = this.#viewOf(tensor, [rows, width]);
      return passes(view, rows - 1);
    } catch {
      return false; // a kernel over memory that is not there fails
    }
  }

  #mark(rows: DeviceTensor, row: number, part: Float32Array<ArrayBuffer>): void {
    const { session, binding } = this.#write;
    binding.input("rows", rows);
    binding.input("to", Tensor.from("int64", [1, 1], BigInt64Array.of(BigInt(row))));
    binding.input("part", Tensor.from("float32", [1, width], part));
    binding.output("out", rows);
    session.runNow(binding);
  }

  #find(rows: DeviceTensor, row: number): Float32Array {
    const { session, binding } = this.#read;
    const part = Tensor.zeros("float32", [1, width]);
    binding.input("rows", rows);
    binding.input("from", Tensor.from("int32", [1], Int32Array.of(row)));
    binding.output("part", part);
    session.runNow(binding);
    return part.data;
  }

  [Symbol.dispose](): void {
    for (const { session } of [this.#read, this.#write]) session[Symbol.dispose]();
  }
}
