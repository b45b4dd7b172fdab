/** A serving graph by itself, in any form: steps of several rows, each with as many tokens, over its own cache. */
import assert from "node:assert/strict";
import { at } from "../../src/base/list.js";
import { serializeGraph } from "../../src/graph/serialize.js";
import type { Graph } from "../../src/graph/types.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { rotaryTables, steppedTables } from "../../src/model/rope.js";
import type { ModuleGroup } from "../../src/model/serving/adapters.js";
import { buildServingGraph, type ServingGraph, type ServingOptions } from "../../src/model/serving/graph.js";
import { rotaryNames, rotationFactor } from "../../src/model/serving/rotary.js";
import type { DecoderConfig } from "../../src/model/types.js";
import { type Binding, Session } from "../../src/runtime/session.js";
import { Tensor, type TensorType } from "../../src/runtime/tensor.js";
import { type PlanOptions, planWeights } from "../../src/weights/plan.js";
import { type PreparedWeights, prepareWeights } from "../../src/weights/prepare.js";

const capacity = 64;

export interface GraphForm extends Omit<ServingOptions, "config" | "weights" | "capacity" | "adapters"> {
  /** Default none. */
  readonly adapters?: ServingOptions["adapters"];
  /** Default fp32. */
  readonly plan?: PlanOptions;
  readonly cacheDirectory?: string;
  /** Slots of the cache. Default 4. */
  readonly slots?: number;
}

export interface Step {
  /** Of each row, as many in each. */
  readonly tokens: readonly (readonly number[])[];
  /** The slot of the first row; the others follow. Default 0. */
  readonly slot?: number;
  /** Tokens that each slot holds already. */
  readonly starts: readonly number[];
  /** Tokens of the text whose part the tokens are; without it each text ends with its token. */
  readonly length?: number;
  /** The adapters' inputs. */
  readonly adapters?: Readonly<Record<string, Tensor>>;
}

export class ServedGraph implements AsyncDisposable {
  readonly config: DecoderConfig;
  readonly graph: Graph;
  /** The adapted layers by the input that they share. */
  readonly groups: readonly ModuleGroup[];
  readonly hasGains: boolean;
  readonly #session: Session;
  readonly #prepared: PreparedWeights;
  readonly #cache = new Map<string, Tensor>();

  private constructor(
    config: DecoderConfig,
    { graph, groups }: ServingGraph,
    hasGains: boolean,
    session: Session,
    prepared: PreparedWeights,
    slots: number,
  ) {
    this.config = config;
    this.graph = graph;
    this.groups = groups;
    this.hasGains = hasGains;
    this.#session = session;
    this.#prepared = prepared;
    for (const { name, type, shape } of graph.inputs) {
      if (name.startsWith("past.")) {
        this.#cache.set(name, Tensor.zeros(type as TensorType, [slots, ...shape.slice(1).map(Number)]));
      }
    }
  }

  static async open(folder: string, form: GraphForm = {}): Promise<ServedGraph> {
    const { plan = { dtype: "fp32" }, cacheDirectory, slots = 4, adapters = "none", ...rest } = form;
    const checkpoint = await openCheckpoint(folder);
    const { config, tensors } = checkpoint;
    const options = cacheDirectory === undefined ? {} : { cacheDirectory };
    const prepared = await prepareWeights(checkpoint, planWeights(config, tensors, plan), { ...options, threads: 1 });
    const built = buildServingGraph({ ...rest, config, weights: prepared.weights, capacity, adapters });
    const session = await Session.create(serializeGraph(built.graph), { threads: 1 });
    return new ServedGraph(config, built, rest.gains ?? false, session, prepared, slots);
  }

  /** Every output but the cache's, by name; of logits those of every token, [rows * tokens, vocab]. */
  async run(step: Step): Promise<Map<string, Tensor>> {
    const { tokens, slot = 0, adapters = {} } = step;
    const inputs = new Map(Object.entries({ ...this.#inputs(step), ...adapters }));
    const binding = this.#session.bind();
    for (const { name } of this.graph.inputs) {
      const tensor = inputs.get(name) ?? this.#cache.get(name)?.rows(slot, tokens.length);
      assert.ok(tensor, `the step has ${name}`);
      binding.input(name, tensor);
    }
    const outputs = this.#bindOutputs(binding, slot, tokens.length);
    await this.#session.run(binding);
    const found = binding.outputs();
    binding[Symbol.dispose]();
    return new Map(outputs.map((name, i) => [name, at(found, i)]));
  }

  async logits(step: Step): Promise<Float32Array> {
    const logits = (await this.run(step)).get("logits");
    assert.ok(logits?.data instanceof Float32Array);
    return logits.data;
  }

  /** Sets all of the cache, as if texts had been there before. */
  fillCache(value: number): void {
    for (const { data } of this.#cache.values()) if (data instanceof Float32Array) data.fill(value);
  }

  /** Keys, values or states of all slots, by the name of their input. */
  cached(name: string): Float32Array {
    const data = this.#cache.get(name)?.data;
    assert.ok(data instanceof Float32Array);
    return data;
  }

  #bindOutputs(binding: Binding, slot: number, rows: number): string[] {
    const free: string[] = [];
    for (const { name } of this.graph.outputs) {
      const cached = this.#cache.get(name.replace(/^present/, "past"));
      if (cached) binding.output(name, cached.rows(slot, rows));
      else {
        binding.outputToHost(name);
        free.push(name);
      }
    }
    return free;
  }

  #inputs({ tokens, starts, length: whole }: Step): Record<string, Tensor> {
    const rows = tokens.length;
    const length = at(tokens, 0).length;
    const ints = (values: readonly number[]): Tensor => Tensor.from("int32", [values.length], Int32Array.from(values));
    const longs = (shape: readonly number[], values: readonly number[]): Tensor =>
      Tensor.from("int64", shape, BigInt64Array.from(values, BigInt));
    const places = this.graph.inputs.find(({ name }) => name === "window_places")?.shape.map(Number) ?? [];
    return {
      ...this.#rotaryInputs(whole),
      input_ids: ints(tokens.flat()),
      attention_shape: longs([3], [rows, length, -1]),
      seqlens_k: ints(starts.map((start) => start + length - 1)),
      total_sequence_length: ints([Math.max(...starts) + length]),
      logit_rows: ints([...Array(rows * length).keys()]),
      positions: ints(starts.flatMap((start) => Array.from({ length }, (_, i) => start + i))),
      taken: Tensor.from("float32", [rows * length, 1], new Float32Array(rows * length).fill(1)),
      window_places: longs(
        [rows, places[1] ?? 0, 1],
        starts.flatMap(() => Array.from({ length: places[1] ?? 0 }, (_, i) => length + i)),
      ),
    };
  }

  #rotaryInputs(length?: number): Record<string, Tensor> {
    const { config } = this;
    return Object.fromEntries(
      config.ropes.flatMap((rope, i) => {
        const names = rotaryNames(i);
        const factor = rotationFactor(config, i);
        const { cos, sin } =
          length === undefined ? steppedTables(rope, capacity, factor) : rotaryTables(rope, capacity, length, factor);
        const shape = [capacity, rope.rotaryDim / 2];
        return [
          [names.cos, Tensor.from("float32", shape, cos as Float32Array<ArrayBuffer>)],
          [names.sin, Tensor.from("float32", shape, sin as Float32Array<ArrayBuffer>)],
        ];
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session[Symbol.dispose]();
    await this.#prepared.close();
  }
}
