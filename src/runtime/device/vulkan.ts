/** The devices that Vulkan's drivers offer, read through the loader. A broken driver can crash a process: see survey.ts. */

import koffi from "koffi";
import { type Library, loadLibrary } from "../library.js";
import { explainNoDriver } from "./vulkan-manifests.js";

/** As Vulkan orders them: VkPhysicalDeviceType. */
const types = ["other", "integrated", "discrete", "virtual", "software"] as const;

export type GpuType = (typeof types)[number];

/** What a driver says of one device. `null`: this system cannot tell. */
export interface GpuAdapter {
  readonly name: string;
  readonly type: GpuType;
  /** The driver's name and version. */
  readonly driver: string | null;
  /** Size of the largest heap on the device. */
  readonly memoryBytes: number | null;
  /** Size of the largest storage buffer that one binding covers. */
  readonly maxStorageBufferBytes: number | null;
  /** Size of the largest single allocation. */
  readonly maxAllocationBytes: number | null;
  /** Shaders compute in fp16 and read it from storage buffers. */
  readonly fp16: boolean | null;
  readonly subgroupSize: number | null;
  /** What WebGPU requires of a device and this one lacks; empty for a suitable one. */
  readonly lacks: readonly string[];
}

/** Dawn opens no device without these. By their position in VkPhysicalDeviceFeatures. */
const requiredFeatures: Readonly<Record<string, number>> = {
  robustBufferAccess: 0,
  fullDrawIndexUint32: 1,
  imageCubeArray: 2,
  independentBlend: 3,
  sampleRateShading: 6,
  depthBiasClamp: 12,
  fragmentStoresAndAtomics: 26,
  shaderUniformBufferArrayDynamicIndexing: 33,
  shaderSampledImageArrayDynamicIndexing: 34,
  shaderStorageBufferArrayDynamicIndexing: 35,
  shaderStorageImageArrayDynamicIndexing: 36,
};

const version11 = (1 << 22) | (1 << 12);
const incompatibleDriver = -9;
const deviceLocal = 1;

/** VkStructureType of each structure in use. */
const structures = {
  instance: 1,
  features: 1000059000,
  properties: 1000059001,
  float16: 1000082000,
  storage16: 1000083000,
  subgroups: 1000094000,
  allocations: 1000168000,
  driver: 1000196000,
} as const;

type StructureName = keyof typeof structures;

/** The loader of this platform; null where WebGPU does not run on Vulkan. */
const loaders: Partial<Record<NodeJS.Platform, string>> = { linux: "libvulkan.so.1", win32: "vulkan-1.dll" };

/** Throws an Error whose message is the reason: no loader, no driver, or a driver that fails. */
export function readAdapters(): GpuAdapter[] {
  const name = loaders[process.platform];
  if (name === undefined) throw new Error(`there is no Vulkan on ${process.platform}`);
  const vulkan = openLoader(name);
  const instance = createInstance(vulkan);
  try {
    const handles = handlesOf(vulkan, instance);
    if (handles.length === 0) throw new Error("Vulkan's drivers list no device");
    return handles.map((handle) => readAdapter(vulkan, handle));
  } finally {
    vulkan.destroyInstance(instance, null);
  }
}

interface Vulkan {
  readonly library: Library;
  createInstance(info: Buffer, allocator: null, out: BigUint64Array): number;
  destroyInstance(instance: bigint, allocator: null): void;
  enumerate(instance: bigint, count: Uint32Array, out: BigUint64Array | null): number;
  properties(device: bigint, out: Buffer): void;
  features(device: bigint, out: Buffer): void;
  memory(device: bigint, out: Buffer): void;
}

function openLoader(name: string): Vulkan {
  let library: Library;
  try {
    library = loadLibrary(name);
  } catch {
    throw new Error(`the Vulkan loader (${name}) is not installed`);
  }
  return {
    library,
    createInstance: library.func("int vkCreateInstance(const void *info, void *allocator, void *out)"),
    destroyInstance: library.func("void vkDestroyInstance(void *instance, void *allocator)"),
    enumerate: library.func("int vkEnumeratePhysicalDevices(void *instance, void *count, void *out)"),
    properties: library.func("void vkGetPhysicalDeviceProperties2(void *device, void *out)"),
    features: library.func("void vkGetPhysicalDeviceFeatures2(void *device, void *out)"),
    memory: library.func("void vkGetPhysicalDeviceMemoryProperties(void *device, void *out)"),
  };
}

function createInstance(vulkan: Vulkan): bigint {
  const application = memory(48); // VkApplicationInfo
  application.writeUInt32LE(version11, 44);
  const info = structure("instance", 64);
  info.writeBigUInt64LE(koffi.address(application), 24);
  const out = cells(1);
  const status = vulkan.createInstance(info, null, out);
  if (status === incompatibleDriver) throw new Error(explainNoDriver());
  if (status !== 0) throw new Error(`Vulkan does not start: vkCreateInstance returned ${status}`);
  return out[0] as bigint;
}

function handlesOf(vulkan: Vulkan, instance: bigint): bigint[] {
  const count = new Uint32Array(new ArrayBuffer(4));
  const ask = (out: BigUint64Array | null): void => {
    const status = vulkan.enumerate(instance, count, out);
    if (status < 0) throw new Error(`Vulkan lists no devices: vkEnumeratePhysicalDevices returned ${status}`);
  };
  ask(null);
  const handles = cells(count[0] ?? 0);
  if (handles.length === 0) return [];
  ask(handles);
  return [...handles].slice(0, count[0]);
}

function readAdapter(vulkan: Vulkan, handle: bigint): GpuAdapter {
  const driver = structure("driver", 536);
  const subgroups = structure("subgroups", 32, driver);
  const allocations = structure("allocations", 32, subgroups);
  const properties = structure("properties", 16 + 824, allocations);
  vulkan.properties(handle, properties);
  const storage16 = structure("storage16", 32);
  const float16 = structure("float16", 24, storage16);
  const features = structure("features", 240, float16);
  vulkan.features(handle, features);
  const base = properties.subarray(16); // VkPhysicalDeviceProperties
  const version = base.readUInt32LE(0);
  return {
    name: text(base, 20, 256),
    type: types[base.readUInt32LE(16)] ?? "other",
    driver: [text(driver, 20, 256), text(driver, 276, 256)].filter(Boolean).join(", ") || null,
    memoryBytes: deviceMemory(vulkan, handle),
    maxStorageBufferBytes: base.readUInt32LE(296 + 28),
    maxAllocationBytes: Number(allocations.readBigUInt64LE(24)) || null,
    fp16: float16.readUInt32LE(16) === 1 && storage16.readUInt32LE(16) === 1,
    subgroupSize: subgroups.readUInt32LE(16) || null,
    lacks: [
      ...(version < version11 ? ["Vulkan 1.1"] : []),
      ...Object.keys(requiredFeatures).filter(
        (name) => features.readUInt32LE(16 + 4 * (requiredFeatures[name] ?? 0)) === 0,
      ),
      ...compressionFault(features),
    ],
  };
}

/** Textures are compressed as BC, or as both ETC2 and ASTC. */
function compressionFault(features: Buffer): string[] {
  const [etc2, astc, bc] = [20, 21, 22].map((index) => features.readUInt32LE(16 + 4 * index) !== 0);
  return bc || (etc2 && astc) ? [] : ["textureCompressionBC"];
}

function deviceMemory(vulkan: Vulkan, handle: bigint): number {
  const out = memory(520); // VkPhysicalDeviceMemoryProperties
  vulkan.memory(handle, out);
  const heaps = Array.from({ length: Math.min(16, out.readUInt32LE(260)) }, (_, index) => ({
    bytes: Number(out.readBigUInt64LE(264 + 16 * index)),
    isLocal: (out.readUInt32LE(264 + 16 * index + 8) & deviceLocal) !== 0,
  }));
  return Math.max(0, ...heaps.filter(({ isLocal }) => isLocal).map(({ bytes }) => bytes));
}

/** A structure of this many bytes, chained to the next one. C holds the address of `next`: keep it until the call has returned. */
function structure(name: StructureName, byteLength: number, next?: Buffer): Buffer {
  const bytes = memory(byteLength);
  bytes.writeUInt32LE(structures[name], 0);
  if (next) bytes.writeBigUInt64LE(koffi.address(next), 8);
  return bytes;
}

/** Zeros off the JavaScript heap, where the garbage collector would move them. */
const memory = (byteLength: number): Buffer => Buffer.from(new ArrayBuffer(byteLength));
const cells = (length: number): BigUint64Array => new BigUint64Array(new ArrayBuffer(8 * length));

function text(bytes: Buffer, start: number, length: number): string {
  return bytes.toString("utf8", start, start + length).split("\0")[0] ?? "";
}
