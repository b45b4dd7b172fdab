/** Counts what is read from files while a task runs. Tensors are read into buffers of just their size, so this is their memory too. */

import { type FileHandle, open } from "node:fs/promises";

export interface Reads {
  /** Of one read. */
  largest: number;
  total: number;
}

export async function readsOf(task: () => Promise<unknown>): Promise<Reads> {
  const handle = await open("package.json");
  const prototype: { read: FileHandle["read"] } = Object.getPrototypeOf(handle);
  await handle.close();
  const { read } = prototype;
  const reads: Reads = { largest: 0, total: 0 };
  prototype.read = function (this: FileHandle, ...args: unknown[]) {
    const [buffer] = args;
    if (ArrayBuffer.isView(buffer)) reads.largest = Math.max(reads.largest, buffer.byteLength);
    const result = Reflect.apply(read, this, args) as Promise<{ bytesRead: number }>;
    return result.then((done) => {
      reads.total += done.bytesRead;
      return done;
    });
  } as FileHandle["read"];
  try {
    await task();
  } finally {
    prototype.read = read;
  }
  return reads;
}
