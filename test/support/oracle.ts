/** The oracle's checkpoints and what PyTorch computes with them. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";

export const oracleRoot = "test/fixtures/oracle";
/** Each folder is a checkpoint of one family, or of one way that a family may be set. */
export const families: readonly string[] = readdirSync(oracleRoot).sort();

export interface Expected {
  readonly inputIds: number[];
  /** [24, 320] */
  readonly logits: Float32Array;
  /** The prompt and 24 greedy tokens. */
  readonly greedyIds: number[];
  /** [24, 320]: the logits of each greedy token, where reading the whole text at once gives others. */
  readonly decodeLogits: Float32Array | null;
}

export async function readExpected(folder: string): Promise<Expected> {
  const file = await SafetensorsFile.open(join(folder, "expected.safetensors"));
  try {
    const ids = async (name: string): Promise<number[]> => {
      const bytes = await file.read(name);
      return [...new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8)].map(Number);
    };
    return {
      inputIds: await ids("input_ids"),
      logits: await file.readFloat32("logits"),
      greedyIds: await ids("greedy_ids"),
      decodeLogits: file.tensors.has("decode_logits") ? await file.readFloat32("decode_logits") : null,
    };
  } finally {
    await file.close();
  }
}

export const adapterNames = (family: string): string[] => readdirSync(join(oracleRoot, family, "adapters")).sort();
export const adapterFolder = (family: string, name: string): string => join(oracleRoot, family, "adapters", name);

export function largestDifference(a: Float32Array, b: Float32Array): number {
  let largest = 0;
  for (let i = 0; i < b.length; i++) largest = Math.max(largest, Math.abs((a[i] as number) - (b[i] as number)));
  return largest;
}
