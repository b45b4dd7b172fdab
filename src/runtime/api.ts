/**
 * ONNX Runtime's C API, called through koffi: its function table, and its statuses as errors. The table only ever grows at its end
 * (onnxruntime_c_api.h).
 */
import koffi from "koffi";
import { LorikeetError } from "../base/errors.js";
import { type Library, loadLibrary } from "./library.js";
import { libraryPath, versionFault } from "./ort-library.js";

/** The C API version to request; all functions used here are at least as old. */
const apiVersion = 23;

/** A C pointer. */
export type Pointer = bigint;

/** Table index and C signature of each function in use. A result of `S` is a status, which is checked. */
const signatures = {
  GetErrorMessage: [2, "const char *", ["void *"]],
  CreateEnv: [3, "S", ["int", "const char *", "void *"]],
  CreateSessionFromArray: [8, "S", ["void *", "void *", "size_t", "void *", "void *"]],
  CreateSessionOptions: [10, "S", ["void *"]],
  EnableProfiling: [14, "S", ["void *", "const char *"]],
  DisableMemPattern: [17, "S", ["void *"]],
  DisableCpuMemArena: [19, "S", ["void *"]],
  SetSessionGraphOptimizationLevel: [23, "S", ["void *", "int"]],
  SetIntraOpNumThreads: [24, "S", ["void *", "int"]],
  SetInterOpNumThreads: [25, "S", ["void *", "int"]],
  CreateRunOptions: [39, "S", ["void *"]],
  RunOptionsSetTerminate: [46, "S", ["void *"]],
  RunOptionsUnsetTerminate: [47, "S", ["void *"]],
  CreateTensorAsOrtValue: [48, "S", ["void *", "void *", "size_t", "int", "void *"]],
  CreateTensorWithDataAsOrtValue: [49, "S", ["void *", "void *", "size_t", "void *", "size_t", "int", "void *"]],
  GetTensorMutableData: [51, "S", ["void *", "void *"]],
  GetTensorElementType: [60, "S", ["void *", "void *"]],
  GetDimensionsCount: [61, "S", ["void *", "void *"]],
  GetDimensions: [62, "S", ["void *", "void *", "size_t"]],
  GetTensorTypeAndShape: [65, "S", ["void *", "void *"]],
  CreateCpuMemoryInfo: [69, "S", ["int", "int", "void *"]],
  AllocatorFree: [76, "S", ["void *", "void *"]],
  GetAllocatorWithDefaultOptions: [78, "S", ["void *"]],
  ReleaseStatus: [93, "void", ["void *"]],
  ReleaseSession: [95, "void", ["void *"]],
  ReleaseValue: [96, "void", ["void *"]],
  ReleaseRunOptions: [97, "void", ["void *"]],
  ReleaseTensorTypeAndShapeInfo: [99, "void", ["void *"]],
  ReleaseSessionOptions: [100, "void", ["void *"]],
  SessionEndProfiling: [110, "S", ["void *", "void *", "void *"]],
  AddSessionConfigEntry: [130, "S", ["void *", "const char *", "const char *"]],
  CreateAllocator: [131, "S", ["void *", "void *", "void *"]],
  ReleaseAllocator: [132, "void", ["void *"]],
  RunWithBinding: [133, "S", ["void *", "void *", "void *"]],
  CreateIoBinding: [134, "S", ["void *", "void *"]],
  ReleaseIoBinding: [135, "void", ["void *"]],
  BindInput: [136, "S", ["void *", "const char *", "void *"]],
  BindOutput: [137, "S", ["void *", "const char *", "void *"]],
  BindOutputToDevice: [138, "S", ["void *", "const char *", "void *"]],
  GetBoundOutputValues: [140, "S", ["void *", "void *", "void *", "void *"]],
  ClearBoundInputs: [141, "void", ["void *"]],
  ClearBoundOutputs: [142, "void", ["void *"]],
  AddInitializer: [150, "S", ["void *", "const char *", "void *"]],
  AddRunConfigEntry: [165, "S", ["void *", "const char *", "const char *"]],
  CreatePrepackedWeightsContainer: [166, "S", ["void *"]],
  ReleasePrepackedWeightsContainer: [167, "void", ["void *"]],
  CreateSessionFromArrayWithPrepackedWeightsContainer: [
    169,
    "S",
    ["void *", "void *", "size_t", "void *", "void *", "void *"],
  ],
  SessionOptionsAppendExecutionProvider_CUDA_V2: [204, "S", ["void *", "void *"]],
  CreateCUDAProviderOptions: [205, "S", ["void *"]],
  UpdateCUDAProviderOptions: [206, "S", ["void *", "void *", "void *", "size_t"]],
  GetCUDAProviderOptionsAsString: [207, "S", ["void *", "void *", "void *"]],
  ReleaseCUDAProviderOptions: [208, "void", ["void *"]],
  SessionOptionsAppendExecutionProvider: [216, "S", ["void *", "const char *", "void *", "void *", "size_t"]],
  RegisterExecutionProviderLibrary: [301, "S", ["void *", "const char *", "const char *"]],
  CreateMemoryInfo_V2: [320, "S", ["const char *", "int", "uint32_t", "int", "int", "size_t", "int", "void *"]],
  SessionReleaseCapturedGraph: [421, "S", ["void *", "int"]],
  CopyTensors: [386, "S", ["void *", "void *", "void *", "void *", "size_t"]],
} as const satisfies Record<string, readonly [number, string, readonly string[]]>;

/** A C function; `async` runs it on a pool thread and returns through a callback. */
interface CFunction {
  (...args: Argument[]): unknown;
  async(...args: [...Argument[], (error: unknown, result: unknown) => void]): void;
}

export type FunctionName = keyof typeof signatures;
type Argument = Pointer | number | string | null | ArrayBufferView | ArrayBuffer;

export class OrtApi {
  readonly version: string;
  readonly #library: Library;
  readonly #functions = new Map<FunctionName, CFunction>();
  /** Arguments of running asynchronous calls: C holds their addresses, so they must not be collected. */
  readonly #inFlight = new Set<Argument[]>();
  /** The process-wide environment; lives as long as the process. */
  readonly env: Pointer;
  readonly cpuMemory: Pointer;
  /** For tests of faults: what it returns for a function's name is the message with which that call fails, null lets it through. */
  faultOf: ((name: FunctionName) => string | null) | null = null;

  /** Throws `runtime_failed` for a library that is not ONNX Runtime, or an older one. */
  constructor(path: string) {
    this.#library = openLibrary(path);
    const base = koffi.decode(this.#library.func("void *OrtGetApiBase()")(), "void *", 2) as Pointer[];
    const getApi = koffi.decode(base[0], koffi.proto("void *(uint32_t)")) as CFunction;
    const getVersion = koffi.decode(base[1], koffi.proto("const char *()")) as CFunction;
    this.version = getVersion() as string;
    const fault = versionFault(this.version);
    if (fault !== null) throw new LorikeetError("runtime_failed", `${path}: ${fault}`);
    const table = getApi(apiVersion) as Pointer | null;
    if (!table) {
      throw new LorikeetError("runtime_failed", `ONNX Runtime ${this.version} has no C API version ${apiVersion}.`);
    }
    const pointers = koffi.decode(table, "void *", 422) as Pointer[];
    for (const [name, [index, result, args]] of Object.entries(signatures)) {
      const proto = koffi.proto(`${result === "S" ? "void *" : result} (${args.join(", ")})`);
      this.#functions.set(name as FunctionName, koffi.decode(pointers[index], proto) as CFunction);
    }
    // 4: fatal. What fails comes back as a status; ONNX Runtime's own lines would break the log's format.
    this.env = this.make("CreateEnv", 4, "lorikeet");
    this.cpuMemory = this.make("CreateCpuMemoryInfo", 0, 0);
  }

  #get(name: FunctionName): CFunction {
    return this.#functions.get(name) as CFunction;
  }

  /** Calls a function and checks its status. Throws `runtime_failed`. */
  call(name: FunctionName, ...args: Argument[]): void {
    this.#injectFault(name);
    const result = this.#get(name)(...args) as Pointer | null;
    if (signatures[name][1] === "S" && result) this.#fail(name, result);
  }

  /** `call` on a pool thread, without blocking the event loop. Keeps the arguments alive until it returns. Typed arrays must be off the JavaScript heap, where small ones lie. */
  callAsync(name: FunctionName, ...args: Argument[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#injectFault(name);
      this.#inFlight.add(args);
      this.#get(name).async(...args, (error: unknown, result: unknown) => {
        this.#inFlight.delete(args);
        try {
          if (error) throw error;
          if (result) this.#fail(name, result as Pointer);
          resolve();
        } catch (fault) {
          reject(fault);
        }
      });
    });
  }

  /** Calls a function whose last parameter receives a pointer. */
  make(name: FunctionName, ...args: Argument[]): Pointer {
    const out = pointerCell();
    this.call(name, ...args, out);
    return out[0] as Pointer;
  }

  async makeAsync(name: FunctionName, ...args: Argument[]): Promise<Pointer> {
    const out = pointerCell();
    await this.callAsync(name, ...args, out);
    return out[0] as Pointer;
  }

  #fail(name: FunctionName, status: Pointer): never {
    const message = this.#get("GetErrorMessage")(status) as string;
    this.#get("ReleaseStatus")(status);
    throw failure(name, message);
  }

  #injectFault(name: FunctionName): void {
    const message = this.faultOf?.(name) ?? null;
    if (message !== null) throw failure(name, message);
  }

  /** A buffer over memory that ONNX Runtime owns. Valid only while the owner lives. */
  view(pointer: Pointer, byteLength: number): ArrayBuffer {
    return koffi.view(pointer, byteLength);
  }

  /** Where the memory of a buffer off the JavaScript heap begins. */
  address(buffer: ArrayBuffer): Pointer {
    return koffi.address(new Uint8Array(buffer)) as Pointer;
  }

  /** C strings, and the array of their addresses. Keep `held` until C has read them. */
  strings(list: readonly string[]): { readonly addresses: BigUint64Array; readonly held: readonly Uint8Array[] } {
    const held = list.map((text) => Buffer.from(`${text}\0`));
    const addresses = new BigUint64Array(new ArrayBuffer(Math.max(8, list.length * 8)));
    for (const [i, bytes] of held.entries()) addresses[i] = koffi.address(bytes) as bigint;
    return { addresses, held };
  }

  readString(pointer: Pointer): string {
    return koffi.decode(pointer, "char", -1) as string;
  }
}

const failure = (name: FunctionName, message: string): LorikeetError =>
  new LorikeetError("runtime_failed", `ONNX Runtime's ${name} failed: ${message}`);

/** Throws `runtime_failed`. */
function openLibrary(path: string): Library {
  try {
    const library = loadLibrary(path);
    library.func("void *OrtGetApiBase()");
    return library;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LorikeetError("runtime_failed", `${path} does not load as ONNX Runtime: ${reason}`, { cause });
  }
}

/** Memory for a pointer, off the JavaScript heap: the garbage collector could move a small typed array during an asynchronous call. */
const pointerCell = (): BigUint64Array => new BigUint64Array(new ArrayBuffer(8));

let shared: OrtApi | undefined;

/** The API; the first call loads the library. */
export function ort(): OrtApi {
  shared ??= new OrtApi(libraryPath());
  return shared;
}
