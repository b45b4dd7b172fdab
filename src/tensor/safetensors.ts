/**
 * A safetensors file, open for reading. The header is validated when the file opens; tensors are read on demand. Holds one file
 * descriptor and no tensor data.
 */

import type { FileHandle } from "node:fs/promises";
import { type ErrorCode, LorikeetError } from "../base/errors.js";
import { handleShortage, NotRegularFile, openRegular } from "../base/files.js";
import { viewAs } from "./dtype.js";
import { foreignBytes, foreignWeights } from "./foreign.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "./half.js";
import { HeaderFault, parseHeader, type SafetensorsHeader, type StoredTensor } from "./safetensors-header.js";

export type { StoredTensor } from "./safetensors-header.js";

export interface SafetensorsOptions {
  /** The code of every error about the file. Default `adapter_invalid`. */
  readonly code?: ErrorCode;
  /** How messages name the file. Default: its path. */
  readonly label?: string;
  /** Bytes of JSON. Default 32 MiB. */
  readonly maxHeaderBytes?: number;
  /** Default 200,000. */
  readonly maxTensors?: number;
}

const maxReadBytes = 1 << 28; // one positioned read stays far below what every system takes

export class SafetensorsFile {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** By name. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly fileBytes: number;
  readonly #handle: FileHandle;
  readonly #fault: Fault;

  private constructor(path: string, header: SafetensorsHeader, fileBytes: number, handle: FileHandle, fault: Fault) {
    this.path = path;
    this.metadata = header.metadata;
    this.tensors = header.tensors;
    this.fileBytes = fileBytes;
    this.#handle = handle;
    this.#fault = fault;
  }

  /** Opens a file and validates its header. Throws LorikeetError with `options.code`. */
  static async open(path: string, options: SafetensorsOptions = {}): Promise<SafetensorsFile> {
    const fault = makeFault(options.code ?? "adapter_invalid", options.label ?? path);
    let handle: FileHandle;
    try {
      handle = await openRegular(path);
    } catch (cause) {
      if (cause instanceof NotRegularFile) throw fault("is not a regular file", "something else", "a regular file");
      throw (
        handleShortage(cause) ??
        fault(`cannot be opened (${reasonOf(cause)})`, reasonOf(cause), "a readable file", cause)
      );
    }
    try {
      const { size } = await handle.stat();
      const header = await readHeader(handle, size, options, fault);
      return new SafetensorsFile(path, header, size, handle, fault);
    } catch (cause) {
      await handle.close();
      if (cause instanceof LorikeetError) throw cause;
      throw fault(`cannot be read (${reasonOf(cause)})`, reasonOf(cause), "a readable file", cause);
    }
  }

  /** The entry of a tensor. Throws LorikeetError with `options.code` if the file has no such tensor. */
  tensor(name: string): StoredTensor {
    const tensor = this.tensors.get(name);
    if (tensor) return tensor;
    throw this.#fault(`holds no tensor "${name}"`, null, `${this.tensors.size} other names`);
  }

  /**
   * Reads a tensor's bytes, or those of `range` (offsets from the tensor's start), into new memory that is aligned for any typed
   * array.
   */
  async read(name: string, range?: { readonly begin: number; readonly end: number }): Promise<Uint8Array<ArrayBuffer>> {
    const { offset, byteLength } = this.tensor(name);
    const begin = range?.begin ?? 0;
    const end = range?.end ?? byteLength;
    if (!(begin >= 0 && begin <= end && end <= byteLength)) {
      throw new LorikeetError("internal", `Bytes ${begin} to ${end} of "${name}" lie outside its ${byteLength} bytes.`);
    }
    return this.readAt(offset + begin, end - begin);
  }

  /** Reads bytes of the file into new memory. `offset` counts from the file's start. */
  async readAt(offset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(byteLength);
    await readFully(this.#handle, bytes, offset, this.#fault);
    return bytes;
  }

  /** Reads an F32, F16, BF16 or F64 tensor as float32. */
  async readFloat32(name: string): Promise<Float32Array> {
    const { dtype } = this.tensor(name);
    switch (dtype) {
      case "F32":
        return viewAs("F32", await this.read(name));
      case "F16":
        return float16ToFloat32(viewAs("F16", await this.read(name)));
      case "BF16":
        return bfloat16ToFloat32(viewAs("BF16", await this.read(name)));
      case "F64":
        return new Float32Array(viewAs("F64", await this.read(name)));
      default:
        throw this.#fault(`holds tensor "${name}" as ${dtype}; F32, F16, BF16 or F64 is allowed`, dtype, [
          "F32",
          "F16",
          "BF16",
          "F64",
        ]);
    }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

type Fault = (clause: string, found: unknown, allowed: unknown, cause?: unknown) => LorikeetError;

function makeFault(code: ErrorCode, label: string): Fault {
  return (clause, found, allowed, cause) =>
    new LorikeetError(code, `The file ${label} ${clause}.`, { param: label, found, allowed, cause });
}

async function readHeader(
  handle: FileHandle,
  fileBytes: number,
  options: SafetensorsOptions,
  fault: Fault,
): Promise<SafetensorsHeader> {
  const { maxHeaderBytes = 32 * 2 ** 20, maxTensors = 200_000 } = options;
  if (fileBytes < 10) {
    throw fault(`is ${fileBytes} bytes long; a safetensors file has at least 10`, fileBytes, "at least 10 bytes");
  }
  const prefix = new Uint8Array(8);
  await readFully(handle, prefix, 0, fault);
  const length = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  const plausible = length >= 2 && length <= Math.min(maxHeaderBytes, fileBytes - 8);
  const foreign = plausible ? null : foreignWeights(await readStart(handle, fileBytes, fault));
  if (foreign) throw fault(foreign, "another format", "a safetensors file");
  if (length > maxHeaderBytes) {
    throw fault(
      `claims a header of ${length} bytes; at most ${maxHeaderBytes} are allowed (is it a safetensors file?)`,
      length,
      maxHeaderBytes,
    );
  }
  if (length < 2 || length > fileBytes - 8) {
    throw fault(
      `claims a header of ${length} bytes, but is ${fileBytes} bytes long`,
      length,
      `2 to ${fileBytes - 8} bytes`,
    );
  }
  const bytes = new Uint8Array(length);
  await readFully(handle, bytes, 8, fault);
  try {
    return parseHeader(bytes, 8 + length, fileBytes, { maxTensors });
  } catch (cause) {
    if (cause instanceof HeaderFault) throw fault(cause.message, cause.found, cause.allowed);
    throw cause;
  }
}

async function readStart(handle: FileHandle, fileBytes: number, fault: Fault): Promise<Uint8Array> {
  const start = new Uint8Array(Math.min(fileBytes, foreignBytes));
  await readFully(handle, start, 0, fault);
  return start;
}

/** Fills `bytes` from an absolute position. Throws if the file has become shorter. */
async function readFully(handle: FileHandle, bytes: Uint8Array, position: number, fault: Fault): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const want = Math.min(bytes.length - done, maxReadBytes);
    const { bytesRead } = await handle.read(bytes, done, want, position + done);
    if (bytesRead === 0) {
      throw fault(
        `ends at byte ${position + done}; ${position + bytes.length} were expected`,
        position + done,
        position + bytes.length,
      );
    }
    done += bytesRead;
  }
}

function reasonOf(cause: unknown): string {
  if (cause instanceof Error && "code" in cause && typeof cause.code === "string") return cause.code;
  return cause instanceof Error ? cause.message : String(cause);
}
