/**
 * Writes safetensors files, byte for byte as the reference implementation does: metadata first, tensors by descending dtype, then
 * by name, and the header padded with spaces to eight bytes. Streams to disk with at most one tensor in memory.
 */

import { type FileHandle, open } from "node:fs/promises";
import { LorikeetError } from "../base/errors.js";
import { bytesOf, type Dtype, dtypeSizes } from "./dtype.js";
import { elementCount, formatShape } from "./shape.js";

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** The elements, little endian, or a function that returns them when their turn comes. */
  readonly data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>);
}

/** The order of the reference's dtype enumeration (safetensors 0.8); its files put the highest first. */
const ranks: Readonly<Record<Dtype, number>> = {
  BOOL: 0,
  U8: 1,
  I8: 2,
  I16: 3,
  F16: 4,
  BF16: 5,
  I32: 6,
  F32: 7,
  F64: 8,
  I64: 9,
};

/**
 * Writes a file at `path`, replacing any that exists. Not atomic: write elsewhere and rename if it must be. With `fsync` the bytes
 * are on the disk when it resolves. Throws LorikeetError `internal` if a tensor's data does not match its shape.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
  options: { readonly fsync?: boolean } = {},
): Promise<void> {
  const ordered = [...tensors].sort(
    (left, right) =>
      ranks[right.dtype] - ranks[left.dtype] || Buffer.compare(Buffer.from(left.name), Buffer.from(right.name)),
  );
  const header = encodeHeader(ordered, metadata);
  const handle = await open(path, "w");
  try {
    await writeFully(handle, header);
    for (const tensor of ordered) {
      const view = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
      if (view.byteLength !== byteSize(tensor)) throw wrongSize(tensor, view.byteLength);
      await writeFully(handle, bytesOf(view));
    }
    if (options.fsync) await handle.sync();
  } finally {
    await handle.close();
  }
}

function encodeHeader(tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Buffer {
  const entries: string[] = [];
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0) {
    const pairs = keys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(metadata[key])}`);
    entries.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  const names = new Set(["__metadata__"]);
  let offset = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    if (names.has(name))
      throw new LorikeetError("internal", `A safetensors file cannot hold two tensors named "${name}".`);
    names.add(name);
    const end = offset + byteSize(tensor);
    // Built by hand: an object would sort names that look like integers first.
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [offset, end] })}`);
    offset = end;
  }
  const json = Buffer.from(`{${entries.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + padded, " ");
  header.writeBigUInt64LE(BigInt(padded));
  json.copy(header, 8);
  return header;
}

function byteSize({ dtype, shape }: TensorToWrite): number {
  return elementCount(shape) * dtypeSizes[dtype];
}

function wrongSize(tensor: TensorToWrite, found: number): LorikeetError {
  const allowed = byteSize(tensor);
  const what = `${tensor.dtype} ${formatShape(tensor.shape)}`;
  return new LorikeetError("internal", `"${tensor.name}" has ${found} bytes, but ${what} takes ${allowed}.`, {
    param: tensor.name,
    found,
    allowed,
  });
}

async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.length - done, 1 << 28));
    done += bytesWritten;
  }
}
