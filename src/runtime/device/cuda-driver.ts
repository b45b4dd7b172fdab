/** The cards that NVIDIA's driver offers to CUDA, read through its library. A broken driver can crash a process: see survey.ts. */
import { type Library, loadLibrary } from "../library.js";

/** What the driver says of one card. */
export interface CudaCard {
  readonly name: string;
  readonly memoryBytes: number;
  /** Which instructions it has, such as "9.0". */
  readonly computeCapability: string;
  /** The newest CUDA that the driver runs, such as "13.0". */
  readonly cudaVersion: string;
}

const libraryName = "libcuda.so.1";
const noDevice = 100;
/** CUdevice_attribute. */
const capability = { major: 75, minor: 76 } as const;

/** Throws an Error whose message is the reason: no driver, no card, or a driver that fails. */
export function readCudaCards(): CudaCard[] {
  const driver = openDriver();
  driver.must("cuInit", driver.init(0));
  const cudaVersion = driver.integer("cuDriverGetVersion", (out) => driver.version(out));
  const count = driver.integer("cuDeviceGetCount", (out) => driver.count(out));
  return Array.from({ length: count }, (_, index) => readCard(driver, index, cudaVersion));
}

interface Driver {
  init(flags: number): number;
  version(out: Int32Array): number;
  count(out: Int32Array): number;
  device(out: Int32Array, index: number): number;
  name(out: Buffer, length: number, device: number): number;
  memory(out: BigUint64Array, device: number): number;
  attribute(out: Int32Array, attribute: number, device: number): number;
  /** Throws unless the call of this name succeeded. */
  must(name: string, status: number): void;
  integer(name: string, read: (out: Int32Array) => number): number;
}

function openDriver(): Driver {
  let library: Library;
  try {
    library = loadLibrary(libraryName);
  } catch {
    throw new Error(`NVIDIA's driver (${libraryName}) is not installed`);
  }
  const must = (name: string, status: number): void => {
    if (status === noDevice) throw new Error("NVIDIA's driver lists no card");
    if (status !== 0) throw new Error(`NVIDIA's driver failed: ${name} returned ${status}`);
  };
  return {
    init: library.func("int cuInit(unsigned int flags)"),
    version: library.func("int cuDriverGetVersion(void *out)"),
    count: library.func("int cuDeviceGetCount(void *out)"),
    device: library.func("int cuDeviceGet(void *out, int index)"),
    name: library.func("int cuDeviceGetName(void *out, int length, int device)"),
    memory: library.func("int cuDeviceTotalMem_v2(void *out, int device)"),
    attribute: library.func("int cuDeviceGetAttribute(void *out, int attribute, int device)"),
    must,
    integer(name, read) {
      const out = new Int32Array(new ArrayBuffer(4));
      must(name, read(out));
      return out[0] ?? 0;
    },
  };
}

function readCard(driver: Driver, index: number, version: number): CudaCard {
  const device = driver.integer("cuDeviceGet", (out) => driver.device(out, index));
  const name = Buffer.from(new ArrayBuffer(256));
  driver.must("cuDeviceGetName", driver.name(name, name.length, device));
  const bytes = new BigUint64Array(new ArrayBuffer(8));
  driver.must("cuDeviceTotalMem", driver.memory(bytes, device));
  const read = (attribute: number): number =>
    driver.integer("cuDeviceGetAttribute", (out) => driver.attribute(out, attribute, device));
  return {
    name: name.toString("utf8").split("\0")[0] ?? "",
    memoryBytes: Number(bytes[0]),
    computeCapability: `${read(capability.major)}.${read(capability.minor)}`,
    cudaVersion: `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`,
  };
}
