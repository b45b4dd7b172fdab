/** Files mapped into memory, and tensors over them: weights that several sessions share without a copy. */
import { closeSync, fstatSync, openSync } from "node:fs";
import { assert, LorikeetError } from "../base/errors.js";
import { ort, type Pointer } from "./api.js";
import { type Library, loadSystemLibrary } from "./library.js";
import { type TensorType, tensorCode } from "./tensor.js";

interface Libc {
  readonly library: Library;
  mmap(address: null, length: number, protection: number, flags: number, fd: number, offset: number): Pointer | null;
  munmap(address: Pointer, length: number): number;
}

const readable = 1;
const privateMapping = 2;
let libc: Libc | null | undefined;

function loadLibc(): Libc | null {
  const library = loadSystemLibrary();
  if (library === null) return null;
  const mmap = library.func("void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)");
  const munmap = library.func("int munmap(void *addr, size_t length)");
  return { library, mmap, munmap };
}

/** Whether this system can map files: without it every session reads its own weights. */
export function canMap(): boolean {
  if (libc === undefined) libc = loadLibc();
  return libc !== null;
}

/** A whole file, read-only. Pages are read when they are touched and given back under pressure. */
export class FileMapping implements Disposable {
  readonly byteLength: number;
  #address: Pointer;

  /** Throws `runtime_failed` when the file cannot be mapped. */
  constructor(path: string) {
    assert(canMap() && libc, "files can be mapped here");
    const fd = openSync(path, "r");
    try {
      this.byteLength = fstatSync(fd).size;
      const address = libc.mmap(null, this.byteLength, readable, privateMapping, fd, 0);
      if (!address || address === 0xffffffffffffffffn) {
        throw new LorikeetError("runtime_failed", `${path} cannot be mapped into memory (${this.byteLength} bytes).`);
      }
      this.#address = address;
    } finally {
      closeSync(fd);
    }
  }

  get address(): Pointer {
    assert(this.#address !== 0n, "an unmapped file is not used");
    return this.#address;
  }

  [Symbol.dispose](): void {
    if (this.#address !== 0n) libc?.munmap(this.#address, this.byteLength);
    this.#address = 0n;
  }
}

/** A tensor over a part of a mapping, which it keeps. */
export class MappedTensor implements Disposable {
  readonly mapping: FileMapping;
  #handle: Pointer;

  constructor(mapping: FileMapping, type: TensorType, shape: readonly number[], offset: number, byteLength: number) {
    assert(offset + byteLength <= mapping.byteLength, `bytes ${offset}..${offset + byteLength} lie inside the mapping`);
    this.mapping = mapping;
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
