/** Sessions run graphs off the event loop; bindings tie their inputs and outputs to tensors. */
import { assert, LorikeetError } from "../base/errors.js";
import { ort, type Pointer } from "./api.js";
import type { Bindable, Device, DeviceTensor } from "./device/device.js";
import { FileMapping, MappedTensor } from "./mapping.js";
import { appendProvider } from "./provider.js";
import { Tensor, type TensorType, tensorTypeOf } from "./tensor.js";

export interface SessionOptions {
  /** Threads that one run uses, including the calling one. */
  readonly threads: number;
  /** Threads spin between runs: steps are faster, but the cores stay busy. Default true. */
  readonly spinning?: boolean;
  /** Plan memory by shapes: faster for one shape, wasteful for many. Default false. */
  readonly memoryPattern?: boolean;
  /** Copy weights into the kernels' layout. Default true; false uses only the mapped file. */
  readonly prepacking?: boolean;
  /** 0 none, 1 basic, 2 extended, 99 all (default). */
  readonly optimization?: 0 | 1 | 2 | 99;
  /** Extra `session.*` entries. */
  readonly config?: Readonly<Record<string, string>>;
  /** Path prefix of a profile that `endProfiling` closes. */
  readonly profile?: string;
  /** Where the graph runs. What has no kernel there is refused. Default: the CPU. Create the session and its bindings in a turn of the device. */
  readonly device?: Device;
  /** Nodes that have no kernel on the device, or only compute sizes, run on the CPU. Default false. */
  readonly cpuFallback?: boolean;
  /** Options of the device's provider for this session alone. */
  readonly providerOptions?: Readonly<Record<string, string>>;
  /** Initializers of this graph, by name, that are shared with other sessions. */
  readonly shared?: { readonly weights: SharedWeights; readonly names: readonly string[] };
}

/**
 * Weights, in mapped files or in memory, that several sessions share: on the CPU with one prepacked copy for all, on a card as one
 * copy in its memory.
 */
export class SharedWeights implements Disposable {
  readonly #mappings = new Map<string, FileMapping>();
  readonly #tensors = new Map<string, MappedTensor | Tensor>();
  readonly #resident = new Map<string, { readonly whole: DeviceTensor; readonly view: DeviceTensor }>();
  readonly #device: Device | null;
  readonly container: Pointer;

  /** `device`: null for the CPU. */
  constructor(device: Device | null = null) {
    this.#device = device;
    this.container = ort().make("CreatePrepackedWeightsContainer");
  }

  /** Adds an initializer by name. Adding it a second time does nothing. */
  add(name: string, type: TensorType, shape: readonly number[], place: FilePlace): void {
    if (this.#tensors.has(name) || this.#resident.has(name)) return;
    let mapping = this.#mappings.get(place.file);
    if (!mapping) {
      mapping = new FileMapping(place.file);
      this.#mappings.set(place.file, mapping);
    }
    this.#tensors.set(name, new MappedTensor(mapping, type, shape, place.offset, place.byteLength));
  }

  /** Adds an initializer that lies in memory, and takes ownership of the tensor. */
  hold(name: string, tensor: Tensor): void {
    assert(!this.#tensors.has(name) && !this.#resident.has(name), `the shared initializer ${name} is new`);
    this.#tensors.set(name, tensor);
  }

  /** Copies the added weights to the device, in a turn, and releases the files. Throws `device_memory`. */
  async upload(): Promise<void> {
    const device = this.#device;
    if (!device) return;
    for (const [name, tensor] of this.#tensors) {
      const whole = device.allocate(tensor.type, tensor.shape);
      // ONNX Runtime shares memory that it does not own: a view of the tensor, not the tensor.
      this.#resident.set(name, { whole, view: whole.as(tensor.shape) });
      await device.upload([[tensor, whole]]);
      tensor[Symbol.dispose]();
      this.#tensors.delete(name);
    }
    for (const mapping of this.#mappings.values()) mapping[Symbol.dispose]();
    this.#mappings.clear();
  }

  tensor(name: string): Bindable | undefined {
    return this.#resident.get(name)?.view ?? this.#tensors.get(name);
  }

  /** Call only after every session that uses them is disposed; in a turn of the device. */
  [Symbol.dispose](): void {
    for (const { whole, view } of this.#resident.values()) {
      view[Symbol.dispose]();
      whole[Symbol.dispose]();
    }
    for (const tensor of this.#tensors.values()) tensor[Symbol.dispose]();
    ort().call("ReleasePrepackedWeightsContainer", this.container);
    for (const mapping of this.#mappings.values()) mapping[Symbol.dispose]();
  }
}

export interface FilePlace {
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
}

export class Session implements Disposable {
  #handle: Pointer;
  #running = 0;
  readonly #bindings = new Set<Binding>();

  private constructor(handle: Pointer) {
    this.#handle = handle;
  }

  /** Loads an ONNX model given as bytes. External data is found below `/`. Runs on a pool thread. */
  static async create(model: Uint8Array, options: SessionOptions): Promise<Session> {
    const settings = sessionOptions(options);
    try {
      const { env } = ort();
      const size = model.byteLength;
      const { shared } = options;
      const handle = shared
        ? await ort().makeAsync(
            "CreateSessionFromArrayWithPrepackedWeightsContainer",
            env,
            model,
            size,
            settings,
            shared.weights.container,
          )
        : await ort().makeAsync("CreateSessionFromArray", env, model, size, settings);
      return new Session(handle);
    } finally {
      ort().call("ReleaseSessionOptions", settings);
    }
  }

  bind(): Binding {
    const binding = new Binding(ort().make("CreateIoBinding", this.handle));
    this.#bindings.add(binding);
    return binding;
  }

  /**
   * Runs the graph with a binding, one run per binding at a time. `signal` stops it between two nodes, which throws `cancelled`.
   * `graphId`, where the session captures graphs: the first run with an id captures its kernels, the next ones replay them.
   */
  async run(binding: Binding, signal?: AbortSignal, graphId?: number): Promise<void> {
    const options = ort().make("CreateRunOptions");
    if (graphId !== undefined) ort().call("AddRunConfigEntry", options, "gpu_graph_id", String(graphId));
    const stop = (): void => ort().call("RunOptionsSetTerminate", options);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    this.#running++;
    try {
      await ort().callAsync("RunWithBinding", this.handle, options, binding.handle);
    } catch (error) {
      if (signal?.aborted) throw new LorikeetError("cancelled", "The run was stopped.", { cause: error });
      throw error;
    } finally {
      this.#running--;
      signal?.removeEventListener("abort", stop);
      ort().call("ReleaseRunOptions", options);
    }
  }

  /** `run` on the calling thread: only for what takes microseconds. */
  runNow(binding: Binding): void {
    const options = ort().make("CreateRunOptions");
    try {
      ort().call("RunWithBinding", this.handle, options, binding.handle);
    } finally {
      ort().call("ReleaseRunOptions", options);
    }
  }

  /** Forgets the kernels that were captured with this id. Not while it runs. */
  releaseCapture(graphId: number): void {
    ort().call("SessionReleaseCapturedGraph", this.handle, graphId);
  }

  /** Lets go of a binding that is not needed any more. */
  unbind(binding: Binding): void {
    this.#bindings.delete(binding);
    binding[Symbol.dispose]();
  }

  /** Ends profiling and gives the profile's file name. */
  endProfiling(): string {
    const allocator = ort().make("GetAllocatorWithDefaultOptions");
    const pointer = ort().make("SessionEndProfiling", this.handle, allocator);
    const name = ort().readString(pointer);
    ort().call("AllocatorFree", allocator, pointer);
    return name;
  }

  get handle(): Pointer {
    assert(this.#handle !== 0n, "a disposed session is not used");
    return this.#handle;
  }

  [Symbol.dispose](): void {
    if (this.#handle === 0n) return;
    assert(this.#running === 0, "a running session is not disposed");
    for (const binding of this.#bindings) binding[Symbol.dispose]();
    ort().call("ReleaseSession", this.#handle);
    this.#handle = 0n;
  }
}

/** Ties inputs and outputs of a session to tensors, and keeps these alive. */
export class Binding implements Disposable {
  #handle: Pointer;
  readonly #held = new Map<string, Bindable>();

  constructor(handle: Pointer) {
    this.#handle = handle;
  }

  get handle(): Pointer {
    assert(this.#handle !== 0n, "a disposed binding is not used");
    return this.#handle;
  }

  /** A tensor of the host is copied when it is bound, if the session runs elsewhere. */
  input(name: string, tensor: Bindable): void {
    ort().call("BindInput", this.handle, name, tensor.handle);
    this.#held.set(`<${name}`, tensor);
  }

  output(name: string, tensor: Bindable): void {
    ort().call("BindOutput", this.handle, name, tensor.handle);
    this.#held.set(`>${name}`, tensor);
  }

  /** Lets ONNX Runtime allocate this output; read it with `outputs()`. */
  outputToHost(name: string): void {
    ort().call("BindOutputToDevice", this.handle, name, ort().cpuMemory);
  }

  /** Copies of all outputs that ONNX Runtime allocated, in the order in which they were bound. */
  outputs(): Tensor[] {
    const allocator = ort().make("GetAllocatorWithDefaultOptions");
    const values = new BigUint64Array(1);
    const counts = new BigUint64Array(1);
    ort().call("GetBoundOutputValues", this.handle, allocator, values, counts);
    const total = Number(counts[0]);
    const list = new BigUint64Array(
      ort()
        .view(values[0] as Pointer, total * 8)
        .slice(0),
    );
    ort().call("AllocatorFree", allocator, values[0] as Pointer);
    return [...list].map(copyValue);
  }

  [Symbol.dispose](): void {
    if (this.#handle === 0n) return;
    ort().call("ReleaseIoBinding", this.#handle);
    this.#handle = 0n;
    this.#held.clear();
  }
}

function copyValue(value: Pointer): Tensor {
  const info = ort().make("GetTensorTypeAndShape", value);
  try {
    const code = new Int32Array(1);
    ort().call("GetTensorElementType", info, code);
    const rank = Number(ort().make("GetDimensionsCount", info));
    const dims = new BigInt64Array(Math.max(rank, 1));
    ort().call("GetDimensions", info, dims, rank);
    const type: TensorType = tensorTypeOf(code[0] as number);
    const tensor = Tensor.zeros(type, [...dims.slice(0, rank)].map(Number));
    if (tensor.data.byteLength > 0) {
      const source = ort().view(ort().make("GetTensorMutableData", value), tensor.data.byteLength);
      new Uint8Array(tensor.data.buffer).set(new Uint8Array(source));
    }
    return tensor;
  } finally {
    ort().call("ReleaseTensorTypeAndShapeInfo", info);
    ort().call("ReleaseValue", value);
  }
}

function sessionOptions(options: SessionOptions): Pointer {
  const settings = ort().make("CreateSessionOptions");
  const entries: Record<string, string> = {
    "session.model_external_initializers_file_folder_path": "/",
    "session.intra_op.allow_spinning": options.spinning === false ? "0" : "1",
    "session.disable_prepacking": options.prepacking === false ? "1" : "0",
    ...options.config,
  };
  ort().call("SetIntraOpNumThreads", settings, options.threads);
  ort().call("SetInterOpNumThreads", settings, 1);
  ort().call("SetSessionGraphOptimizationLevel", settings, options.optimization ?? 99);
  if (!options.memoryPattern) ort().call("DisableMemPattern", settings);
  if (options.profile !== undefined) ort().call("EnableProfiling", settings, options.profile);
  for (const [key, value] of Object.entries(entries)) ort().call("AddSessionConfigEntry", settings, key, value);
  const { provider } = options.device ?? {};
  if (provider) appendProvider(settings, provider, options.providerOptions, options.cpuFallback);
  const { shared } = options;
  for (const name of shared?.names ?? []) {
    const tensor = shared?.weights.tensor(name);
    assert(tensor, `shared initializer ${name} was added`);
    ort().call("AddInitializer", settings, name, tensor.handle);
  }
  return settings;
}
