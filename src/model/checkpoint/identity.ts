/** Identifies a checkpoint by few reads: equal for copies, different for other weights. */

import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import type { Checkpoint } from "../types.js";

const samples = 16;
const sampleBytes = 4096;

/** A digest of 64 hexadecimal digits over the shapes of all weights and a sample of their bytes, independent of paths and times. */
export async function weightsIdentity({ config, tensors }: Checkpoint): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(config));
  const layout = [...tensors.values()].map(({ name, dtype, shape, offset }) => [name, dtype, shape, offset]);
  hash.update(JSON.stringify(layout));
  const bytes = Buffer.alloc(sampleBytes);
  for (const file of [...new Set([...tensors.values()].map((tensor) => tensor.file))]) {
    await using handle = await open(file, "r");
    const { size } = await handle.stat();
    for (let i = 0; i < samples; i++) {
      const { bytesRead } = await handle.read(bytes, 0, sampleBytes, Math.floor((size * i) / samples));
      hash.update(bytes.subarray(0, bytesRead));
    }
  }
  return hash.digest("hex");
}
