/**
 * Decode steps on a card: every input lies at a fixed address in its memory, one copy refreshes them all, and the kernels of a step
 * are captured once for each shape and replayed from then on, which takes a fraction of the CPU's time. Knows no request.
 */
import { assert } from "../base/errors.js";
import { at } from "../base/list.js";
import { serializeGraph } from "../graph/serialize.js";
import type { Graph } from "../graph/types.js";
import { likeliest, likeliestWidth, readLikeliest } from "../model/serving/likeliest.js";
import type { Capture, Device, DeviceTensor } from "../runtime/device/device.js";
import { type Binding, Session, type SessionOptions } from "../runtime/session.js";
import { Tensor, type TensorType } from "../runtime/tensor.js";
import type { KvView } from "./kv-cache.js";

/** What a step reads in host memory, by the graph's names. Names and shapes follow from the step's `shape`. */
export type StepValues = ReadonlyMap<string, Tensor>;

export interface CardStep {
  /** Equal for steps whose inputs have equal names and shapes and whose residents are the same tensors. */
  readonly shape: string;
  readonly rows: number;
  /** The adapters' memory: steps over an earlier one do not come again. null without adapters. */
  readonly stack: number | null;
  readonly values: StepValues;
  /** What lies on the device already: cache, adapters and tables. */
  readonly inputs: ReadonlyMap<string, DeviceTensor>;
  readonly outputs: ReadonlyMap<string, DeviceTensor>;
  /** Fills in whether states stay as they are: capturing runs a step several times. */
  keepStates(all: boolean): void;
}

/** Takes what a step binds, by where it lies. */
export class StepInputs {
  readonly values = new Map<string, Tensor>();
  readonly inputs = new Map<string, DeviceTensor>();
  readonly outputs = new Map<string, DeviceTensor>();

  input(name: string, tensor: Tensor | DeviceTensor): void {
    if (tensor instanceof Tensor) this.values.set(name, tensor);
    else this.inputs.set(name, tensor);
  }

  cache(view: KvView): void {
    for (const { past, present, tensor } of view) {
      this.inputs.set(past, tensor);
      this.outputs.set(present, tensor);
    }
  }
}

/** A shape that was captured, or that is bound and runs kernel by kernel. */
interface Prepared {
  readonly binding: Binding;
  readonly graphId: number;
  readonly inputs: ReadonlyMap<string, DeviceTensor>;
  readonly logits: DeviceTensor;
  readonly likeliest: DeviceTensor;
}

type Outputs = Pick<Prepared, "logits" | "likeliest">;

/** The CPU reads the shape of attention's tensors, which does not change between steps of one shape. */
const hostInputs: ReadonlySet<string> = new Set(["attention_shape"]);
/** And, unless a capture reads it on the card, the length of the longest text. */
const hostInputsAndLength: ReadonlySet<string> = new Set([...hostInputs, "total_sequence_length"]);

export interface CardForms {
  readonly vocabSize: number;
  /** How steps are captured; null: they are not. */
  readonly capture: Capture | null;
}

export class CardDecode implements Disposable {
  readonly #device: Device;
  readonly #session: Session;
  readonly #vocabSize: number;
  readonly #capture: Capture | null;
  readonly #prepared = new Map<string, Prepared>();
  #stack: number | null = null;
  /** Ids of what was captured. */
  readonly #captured = new Set<number>();
  /** What was allocated for steps. */
  readonly #owned: DeviceTensor[] = [];
  /** Kernels are captured and replayed, not run one by one. */
  replays: boolean;

  private constructor(device: Device, session: Session, { vocabSize, capture }: CardForms) {
    this.#device = device;
    this.#session = session;
    this.#vocabSize = vocabSize;
    this.#capture = capture;
    this.replays = capture !== null;
  }

  get canCapture(): boolean {
    return this.#capture !== null;
  }

  /** `graph` gives logits and what tells the likeliest tokens. In a turn. */
  static async create(device: Device, graph: Graph, forms: CardForms, options: SessionOptions): Promise<CardDecode> {
    const session = await Session.create(serializeGraph(graph), {
      ...options,
      device,
      // The likeliest tokens are found as int64. A session that captures has kernels for these anyway.
      providerOptions: forms.capture?.options ?? device.provider?.int64 ?? {},
    });
    return new CardDecode(device, session, forms);
  }

  /** Runs a step; its outputs are read with `logits` and `tokens` before the next one. In a turn. */
  async run(step: CardStep): Promise<DecodeOutputs> {
    if (step.stack !== this.#stack) this.#forget();
    this.#stack = step.stack;
    const known = this.#prepared.get(step.shape);
    const prepared = known ?? (await this.#prepare(step));
    step.keepStates(false);
    await this.#upload(prepared, step.values);
    await this.#run(prepared);
    return new DecodeOutputs(this.#device, prepared, step.rows, this.#vocabSize);
  }

  async #run(prepared: Prepared): Promise<void> {
    await this.#session.run(prepared.binding, undefined, this.#graphId(prepared));
    if (this.replays) this.#captured.add(prepared.graphId);
  }

  #graphId({ graphId }: Prepared): number | undefined {
    if (!this.canCapture) return undefined;
    return this.replays ? graphId : notCaptured;
  }

  async #prepare(step: CardStep): Promise<Prepared> {
    const inputs = new Map<string, DeviceTensor>();
    const binding = this.#session.bind();
    const onHost = this.canCapture ? hostInputs : hostInputsAndLength;
    for (const [name, tensor] of step.values) {
      if (onHost.has(name)) {
        binding.input(name, tensor);
        continue;
      }
      const place = this.#allocate(tensor.type, tensor.shape);
      inputs.set(name, place);
      binding.input(name, place);
    }
    for (const [name, tensor] of step.inputs) binding.input(name, tensor);
    for (const [name, tensor] of step.outputs) binding.output(name, tensor);
    const logits = this.#allocate("float32", [step.rows, this.#vocabSize]);
    const found = this.#allocate("float32", [step.rows, likeliestWidth(this.#vocabSize)]);
    binding.output("logits", logits);
    binding.output(likeliest, found);
    const prepared = { binding, graphId: ++lastGraphId, inputs, logits, likeliest: found };
    this.#prepared.set(step.shape, prepared);
    if (this.replays) {
      step.keepStates(true);
      await this.#upload(prepared, step.values);
      await this.#run(prepared);
    }
    return prepared;
  }

  #allocate(type: TensorType, shape: readonly number[]): DeviceTensor {
    const tensor = this.#device.allocate(type, shape);
    this.#owned.push(tensor);
    return tensor;
  }

  async #upload({ inputs }: Prepared, values: StepValues): Promise<void> {
    await this.#device.upload(
      [...inputs].map(([name, place]) => {
        const value = values.get(name);
        assert(value, `the step has ${name}`);
        return [value, place] as const;
      }),
    );
  }

  /** Releases all that was prepared, with its captures. */
  #forget(): void {
    for (const graphId of this.#captured) this.#session.releaseCapture(graphId);
    this.#captured.clear();
    for (const { binding } of this.#prepared.values()) this.#session.unbind(binding);
    this.#prepared.clear();
    for (const tensor of this.#owned.splice(0)) tensor[Symbol.dispose]();
  }

  /** In a turn. */
  [Symbol.dispose](): void {
    this.#session[Symbol.dispose]();
    for (const tensor of this.#owned.splice(0)) tensor[Symbol.dispose]();
    this.#prepared.clear();
  }
}

/** Ids are the provider's, which all sessions share. */
let lastGraphId = 0;
/** ONNX Runtime's id for a run that is neither captured nor replayed. */
const notCaptured = -1;

/** What a step gave, on the card until it is read. */
export class DecodeOutputs {
  readonly #device: Device;
  readonly #outputs: Outputs;
  readonly #rows: number;
  readonly #vocabSize: number;

  constructor(device: Device, outputs: Outputs, rows: number, vocabSize: number) {
    this.#device = device;
    this.#outputs = outputs;
    this.#rows = rows;
    this.#vocabSize = vocabSize;
  }

  /** [rows, vocab]. In the turn of the step. */
  async logits(into: Tensor<"float32">): Promise<Float32Array> {
    assert(at(into.shape, 0) === this.#rows && at(into.shape, 1) === this.#vocabSize, "there is room for all logits");
    await this.#device.download(this.#outputs.logits, into);
    return into.data;
  }

  /** The likeliest token of each row; null if logits of a row are not finite, where a comparison may give any. In the turn of the step. */
  async tokens(): Promise<number[] | null> {
    const found = Tensor.zeros("float32", [this.#rows, likeliestWidth(this.#vocabSize)]);
    await this.#device.download(this.#outputs.likeliest, found);
    return readLikeliest(found.data, this.#vocabSize);
  }
}
