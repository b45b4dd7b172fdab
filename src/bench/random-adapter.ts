/** Random adapters for every linear layer of a decoder, in PEFT's shapes: in memory or as folders. */

import { writeAdapter } from "../adapter/format.js";
import type { HostAdapter, HostModule } from "../adapter/types.js";
import { last } from "../base/list.js";
import type { TargetModule } from "../model/blueprint.js";
import { layerModules } from "../model/modules.js";
import type { DecoderConfig } from "../model/types.js";

/** A random adapter in memory, reproducible from the seed. */
export function randomAdapter(config: DecoderConfig, rank: number, seed: number): HostAdapter {
  const modules = new Map<string, HostModule>();
  for (const module of layerModules(config)) {
    const { a, b } = drawModule(module, rank, seed);
    modules.set(module.path, { rank, dtype: "F32", scale: 1, a, b });
  }
  return { digest: `random:${rank}:${seed}`, rank, bytes: adapterBytes(config, rank), hasGains: false, modules };
}

/**
 * `count` adapters that the engine treats as distinct. They share their numbers, but a step reads the bank's copies, which are
 * separate.
 */
export function randomAdapters(config: DecoderConfig, rank: number, count: number): HostAdapter[] {
  const first = randomAdapter(config, rank, 0);
  return Array.from({ length: count }, (_, i) => ({ ...first, digest: `random:${rank}:${i}` }));
}

/** Bytes of one adapter's matrices in fp32. */
export function adapterBytes(config: DecoderConfig, rank: number): number {
  const width = layerModules(config).reduce((sum, module) => sum + module.inFeatures + module.outFeatures, 0);
  return 4 * rank * width;
}

/** Writes the adapter as a PEFT folder. */
export async function writeRandomAdapter(
  folder: string,
  config: DecoderConfig,
  rank: number,
  seed: number,
): Promise<void> {
  const modules = layerModules(config);
  await writeAdapter(folder, {
    config: {
      r: rank,
      loraAlpha: 2 * rank,
      baseModelName: null,
      targetModules: [...new Set(modules.map(({ path }) => last(path.split("."))))],
    },
    tensors: modules.map((module) => ({ ...module, rank, ...drawModule(module, rank, seed) })),
  });
}

/** Uniform numbers of about the size of trained ones; xorshift32 seeded per module. */
function drawModule({ path, inFeatures, outFeatures }: TargetModule, rank: number, seed: number) {
  const a = new Float32Array(inFeatures * rank);
  const b = new Float32Array(rank * outFeatures);
  draw(a, 1 / Math.sqrt(inFeatures), hash(`${path}.a`, seed));
  draw(b, 0.01 / Math.sqrt(rank), hash(`${path}.b`, seed));
  return { a, b };
}

function draw(values: Float32Array, bound: number, start: number): void {
  let state = start || 1;
  for (let i = 0; i < values.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    values[i] = (bound * state) / 2 ** 31;
  }
}

/** FNV-1a over the text, mixed with the seed. */
function hash(text: string, seed: number): number {
  let state = (0x811c9dc5 ^ Math.imul(seed + 1, 0x9e3779b1)) >>> 0;
  for (const byte of Buffer.from(text)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  return state;
}
