/**
 * The norm of each output's adapted weights, |W + s B A|, by which DoRA divides (arXiv:2402.09353). W is the checkpoint's weight,
 * whatever form the base runs in, so a gain is the same over fp32, int8 and int4, and equals PEFT's. Nothing of W's size is
 * allocated: |W + s B A|² = |W|² + 2 s Σ_r B ⊙ (W A) + s² Σ_r B ⊙ (AᵀA B), with W read from its file in bands.
 */

import { Semaphore } from "../base/async.js";
import { assert, LorikeetError } from "../base/errors.js";
import { at } from "../base/list.js";
import { GraphBuilder } from "../graph/builder.js";
import { Ops } from "../graph/ops.js";
import { serializeGraph } from "../graph/serialize.js";
import type { Value } from "../graph/types.js";
import type { Blueprint } from "../model/blueprint.js";
import { storedPath, transposedPaths } from "../model/modules.js";
import type { Checkpoint, TensorLocation } from "../model/types.js";
import { canMap, FileMapping, MappedTensor } from "../runtime/mapping.js";
import { type Binding, Session } from "../runtime/session.js";
import { Tensor, type TensorType } from "../runtime/tensor.js";
import { dtypeSizes } from "../tensor/dtype.js";
import { readSegment } from "./convert/task.js";

/** An adapter's matrices for one target module. */
export interface LowRank {
  readonly path: string;
  readonly rank: number;
  /** Multiplies B A. */
  readonly scale: number;
  readonly a: Float32Array; // [in, rank]
  readonly b: Float32Array; // [rank, out]
}

/** The part of a checkpoint that is read here. */
interface NormedCheckpoint {
  readonly tensors: Checkpoint["tensors"];
  readonly config: Pick<Blueprint, "layers" | "head" | "embedding">;
}

export interface WeightNormsOptions {
  readonly threads: number;
  /** The most elements (outputs times inputs) that one run reads, unless the weight is stored [in, out]. Default 2^24, 64 MiB in float32. */
  readonly bandElements?: number;
}

const bandElements = 1 << 24;

const types = { F32: "float32", F16: "float16", BF16: "bfloat16", F64: "float64" } as const;
type Stored = (typeof types)[keyof typeof types];

interface Runnable {
  readonly session: Session;
  readonly binding: Binding;
}

/** A range of a layer's outputs; all of them if the weight is stored [in, out]. */
interface Band {
  readonly first: number;
  readonly count: number;
  readonly weight: Tensor | MappedTensor;
}

export class WeightNorms implements AsyncDisposable {
  readonly #checkpoint: NormedCheckpoint;
  readonly #options: WeightNormsOptions;
  readonly #transposed: ReadonlySet<string>;
  readonly #mappings = new Map<string, FileMapping>();
  readonly #sessions = new Map<string, Runnable>();
  /** |W|² of each output, [out], by module path, for every target module of a DoRA adapter so far. */
  readonly #squares = new Map<string, Float32Array>();
  /** One run at a time: these runs share the machine with engine steps. */
  readonly #turn = new Semaphore(1);
  #closed = false;

  constructor(checkpoint: NormedCheckpoint, options: WeightNormsOptions) {
    this.#checkpoint = checkpoint;
    this.#options = options;
    this.#transposed = transposedPaths(checkpoint.config);
  }

  /** |W + s B A| of each output, [out]; NaN where it is not a number. Runs on pool threads. Throws `draining` after it is closed. */
  of(module: LowRank): Promise<Float32Array<ArrayBuffer>> {
    return this.#turn.run(async () => {
      if (this.#closed)
        throw new LorikeetError("draining", "The server is shutting down, so the adapter's weights cannot be read.");
      const outputs = module.b.length / module.rank;
      const squares = await this.#squaresOf(module.path, outputs);
      const norms = Tensor.zeros("float32", [outputs]);
      const fixed = {
        a: Tensor.from("float32", [module.a.length / module.rank, module.rank], inPlace(module.a)),
        b: Tensor.from("float32", [module.rank, outputs], inPlace(module.b)),
        scale: Tensor.from("float32", [1], Float32Array.of(module.scale)),
      };
      await this.#eachBand(module.path, "norms", async ({ session, binding }, { first, count, weight }) => {
        for (const [name, tensor] of Object.entries(fixed)) binding.input(name, tensor);
        binding.input("weight", weight);
        binding.input("from", Tensor.from("int64", [1], BigInt64Array.of(BigInt(first))));
        binding.input("to", Tensor.from("int64", [1], BigInt64Array.of(BigInt(first + count))));
        binding.input("squares", Tensor.from("float32", [outputs], squares).rows(first, count));
        binding.output("norms", norms.rows(first, count));
        await session.run(binding);
      });
      return norms.data as Float32Array<ArrayBuffer>;
    });
  }

  async #squaresOf(path: string, outputs: number): Promise<Float32Array<ArrayBuffer>> {
    const known = this.#squares.get(path);
    if (known) return known as Float32Array<ArrayBuffer>;
    const squares = Tensor.zeros("float32", [outputs]);
    await this.#eachBand(path, "squares", async ({ session, binding }, { first, count, weight }) => {
      binding.input("weight", weight);
      binding.output("squares", squares.rows(first, count));
      await session.run(binding);
    });
    this.#squares.set(path, squares.data);
    return squares.data as Float32Array<ArrayBuffer>;
  }

  async #eachBand(
    path: string,
    what: "norms" | "squares",
    run: (runnable: Runnable, band: Band) => Promise<void>,
  ): Promise<void> {
    const { tensors, config } = this.#checkpoint;
    const location = tensors.get(`${storedPath(config, path)}.weight`);
    assert(location, `the checkpoint has the weight of ${path}`);
    const transposed = this.#transposed.has(path);
    const [rows, columns] = [at(location.shape, 0), at(location.shape, 1)];
    const runnable = await this.#runnable(what, typeOf(location), transposed);
    const step = transposed ? rows : Math.max(1, Math.floor((this.#options.bandElements ?? bandElements) / columns));
    for (let first = 0; first < rows; first += step) {
      const held = Math.min(step, rows - first);
      using weight = this.#rows(location, first, held);
      await run(runnable, transposed ? { first: 0, count: columns, weight } : { first, count: held, weight });
    }
  }

  /** Rows of a stored matrix: mapped, or read where files cannot be mapped. */
  #rows(location: TensorLocation, first: number, count: number): Tensor | MappedTensor {
    const { file, dtype } = location;
    const [rows, columns] = [at(location.shape, 0), at(location.shape, 1)];
    const type = typeOf(location);
    const byteLength = (location.byteLength / rows) * count;
    const offset = location.offset + (location.byteLength / rows) * first;
    if (!canMap() || offset % dtypeSizes[dtype] !== 0) {
      const bytes = readSegment({ file, offset, byteLength });
      return Tensor.over(type, [count, columns], bytes.buffer);
    }
    const mapping = this.#mappings.get(file) ?? new FileMapping(file);
    this.#mappings.set(file, mapping);
    return new MappedTensor(mapping, type, [count, columns], offset, byteLength);
  }

  async #runnable(what: "norms" | "squares", type: Stored, transposed: boolean): Promise<Runnable> {
    const key = `${what} ${type} ${transposed}`;
    const known = this.#sessions.get(key);
    if (known) return known;
    const graph = (what === "norms" ? normsGraph : squaresGraph)(type, transposed);
    const session = await Session.create(graph, { threads: this.#options.threads, spinning: false });
    const runnable = { session, binding: session.bind() };
    this.#sessions.set(key, runnable);
    return runnable;
  }

  /** Waits for the current run; waiting calls are refused. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#turn.run(async () => {
      for (const { session } of this.#sessions.values()) session[Symbol.dispose]();
      for (const mapping of this.#mappings.values()) mapping[Symbol.dispose]();
      this.#sessions.clear();
      this.#mappings.clear();
    });
  }
}

function typeOf({ name, dtype }: TensorLocation): Stored {
  assert(dtype === "F32" || dtype === "F16" || dtype === "BF16" || dtype === "F64", `${name} is not ${dtype}`);
  return types[dtype];
}

/** The array itself if a tensor can use its memory, else a copy. */
const inPlace = (values: Float32Array): Float32Array<ArrayBuffer> =>
  values.buffer instanceof ArrayBuffer ? (values as Float32Array<ArrayBuffer>) : Float32Array.from(values);

/** `squares` [out]: the sum of the squares of each output's weights. */
function squaresGraph(type: TensorType, transposed: boolean): Uint8Array {
  const op = new Ops(new GraphBuilder("squares"));
  const w = weightInput(op, type, transposed);
  return finish(op, op.sum(op.mul(w, w), [transposed ? 0 : 1], false), "squares");
}

/** `norms` [out] of a band of outputs; `weight` and `squares` belong to the band, `a` and `b` are whole. */
function normsGraph(type: TensorType, transposed: boolean): Uint8Array {
  const op = new Ops(new GraphBuilder("norms"));
  const { builder } = op;
  const w = weightInput(op, type, transposed);
  const a = builder.input("a", "float32", ["in", "rank"]);
  const whole = builder.input("b", "float32", ["rank", "outputs"]);
  const bounds = [builder.input("from", "int64", [1]), builder.input("to", "int64", [1])];
  const axis = builder.constant("int64", [1], [1]);
  const taken = op.one("Slice", [whole, ...bounds, axis], "float32", ["rank", "out"]);
  const b = op.mul(taken, builder.input("scale", "float32", [1]));
  const product = op.transpose(op.gemm(w, a, null, { transA: transposed }), [1, 0]); // [rank, out]
  const gram = op.matMul(op.fusedMatMul(a, a, { transA: true }), b); // AᵀA B
  const added = op.sum(op.mul(b, op.add(op.add(product, product), gram)), [0], false);
  return finish(op, op.sqrt(op.add(builder.input("squares", "float32", ["out"]), added)), "norms");
}

const weightInput = (op: Ops, type: TensorType, transposed: boolean): Value =>
  op.cast(op.builder.input("weight", type, transposed ? ["in", "out"] : ["out", "in"]), "float32");

function finish(op: Ops, value: Value, name: string): Uint8Array {
  const { type, shape } = value;
  for (const output of op.builder.node("Identity", [value], [{ type, shape, name }])) op.builder.output(output);
  return serializeGraph(op.builder.build());
}
