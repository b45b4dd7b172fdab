/** Memory-mapped files and tensors over them, so that several sessions share weights without a copy. */
import { closeSync, fstatSync, openSync } from "node:fs";
import { assert, LorikeetError } from "../base/errors.js";
import { ort, type Pointer } from "./api.js";
import { FileLease } from "./lease.js";
import { type Library, loadSystemLibrary } from "./library.js";
import { type TensorType, tensorCode } from "./tensor.js";

interface Libc {
  readonly library: Library;
  mmap(address: null, length: number, protection: number, flags: number, fd: number, offset: number): Pointer | null;
  munmap(address: Pointer, length: number): number;
  mprotect(address: Pointer, length: number, protection: number): number;
  /** Linux. */
  mremap(from: Pointer, length: number, newLength: number, flags: number, to: Pointer): Pointer | null;
  /** On a pool thread. */
  copy(to: Pointer, from: Pointer, length: number): Promise<void>;
}

const readable = 1;
const writable = 2;
const privateMapping = 2;
const anonymous = 0x20; // Linux
const moveOnto = 3; // MREMAP_MAYMOVE | MREMAP_FIXED
const failed = 0xffffffffffffffffn;
let libc: Libc | null | undefined;

function loadLibc(): Libc | null {
  const library = loadSystemLibrary();
  if (library === null) return null;
  const memcpy = library.func("void *memcpy(void *to, void *from, size_t length)");
  const isLinux = process.platform === "linux";
  return {
    library,
    mmap: library.func("void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)"),
    munmap: library.func("int munmap(void *addr, size_t length)"),
    mprotect: library.func("int mprotect(void *addr, size_t length, int prot)"),
    mremap: isLinux
      ? library.func("void *mremap(void *old, size_t old_length, size_t new_length, int flags, void *new)")
      : () => null,
    copy: (to, from, length) =>
      new Promise((resolve, reject) => {
        memcpy.async(to, from, length, (error: unknown) => (error ? reject(error) : resolve()));
      }),
  };
}

/** Whether this system can map files. If not, every session reads its own weights. */
export function canMap(): boolean {
  if (libc === undefined) libc = loadLibc();
  return libc !== null;
}

/**
 * A read-only mapping of a whole file. Pages are read on first access and evicted under memory pressure. If the file were
 * truncated, reading a missing page would kill the process. So where leases exist, a writer waits until the bytes have been
 * copied into anonymous memory at the same address.
 */
export class FileMapping implements Disposable {
  readonly byteLength: number;
  readonly path: string;
  #address: Pointer;
  readonly #lease: FileLease | null;
  /** Settles when the bytes no longer depend on the file; null while they do. */
  #copying: Promise<void> | null = null;

  /** Throws `runtime_failed` if the file cannot be mapped. */
  constructor(path: string) {
    assert(canMap() && libc, "files can be mapped here");
    this.path = path;
    const fd = openSync(path, "r");
    this.#lease = FileLease.take(fd, () => this.#detach());
    try {
      this.byteLength = fstatSync(fd).size;
      const address = libc.mmap(null, this.byteLength, readable, privateMapping, fd, 0);
      if (!address || address === failed) {
        throw new LorikeetError("runtime_failed", `${path} cannot be mapped into memory (${this.byteLength} bytes).`);
      }
      this.#address = address;
    } catch (cause) {
      this.#lease?.[Symbol.dispose]();
      throw cause;
    } finally {
      if (!this.#lease) closeSync(fd);
    }
  }

  get address(): Pointer {
    assert(this.#address !== 0n, "an unmapped file is not used");
    return this.#address;
  }

  /** Whether the bytes stay unchanged when another process writes to the file. */
  get isGuarded(): boolean {
    return this.#lease !== null;
  }

  [Symbol.dispose](): void {
    this.#lease?.[Symbol.dispose]();
    const address = this.#address;
    this.#address = 0n;
    if (address === 0n) return;
    const unmap = (): unknown => libc?.munmap(address, this.byteLength);
    if (this.#copying) void this.#copying.then(unmap, unmap);
    else unmap();
  }

  /** A process waits to write to the file: copies the bytes, puts the copy in the mapping's place, and releases the lease. */
  #detach(): void {
    this.#copying = this.#copy().finally(() => this.#lease?.[Symbol.dispose]());
    this.#copying.catch(() => {}); // no memory for a copy: the mapping stays
  }

  async #copy(): Promise<void> {
    assert(libc, "the file was mapped");
    const [address, length] = [this.address, this.byteLength];
    const copy = libc.mmap(null, length, readable | writable, privateMapping | anonymous, -1, 0);
    if (!copy || copy === failed) throw new LorikeetError("out_of_memory", `No memory for a copy of ${length} bytes.`);
    await libc.copy(copy, address, length);
    libc.mprotect(copy, length, readable);
    libc.mremap(copy, length, length, moveOnto, address); // atomic for threads that are reading
  }
}

/** A tensor over a part of a mapping, which it keeps alive. */
export class MappedTensor implements Disposable {
  readonly mapping: FileMapping;
  readonly type: TensorType;
  readonly shape: readonly number[];
  #handle: Pointer;

  constructor(mapping: FileMapping, type: TensorType, shape: readonly number[], offset: number, byteLength: number) {
    if (offset + byteLength > mapping.byteLength) throw cutShort(mapping, offset + byteLength);
    this.mapping = mapping;
    this.type = type;
    this.shape = shape;
    const dims = BigInt64Array.from(shape, BigInt);
    const data = mapping.address + BigInt(offset);
    const { cpuMemory } = ort();
    this.#handle = ort().make(
      "CreateTensorWithDataAsOrtValue",
      cpuMemory,
      data,
      byteLength,
      dims,
      shape.length,
      tensorCode(type),
    );
  }

  get handle(): Pointer {
    assert(this.#handle !== 0n, "a disposed tensor is not used");
    return this.#handle;
  }

  [Symbol.dispose](): void {
    if (this.#handle !== 0n) ort().call("ReleaseValue", this.#handle);
    this.#handle = 0n;
  }
}

function cutShort({ path, byteLength }: FileMapping, allowed: number): LorikeetError {
  const message = `The file ${path} is ${byteLength} bytes long; its weights need ${allowed}. It was truncated after it was opened.`;
  return new LorikeetError("runtime_failed", message, { param: path, found: byteLength, allowed });
}
