/** Adapters of random numbers, strong enough that a model answers with other tokens than its base does. */
import { join } from "node:path";
import { writeAdapter } from "../../src/adapter/format.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { layerModules } from "../../src/model/modules.js";
import { varied, weightLengths } from "./magnitudes.js";
import { gaussian } from "./synthetic-weights.js";

export interface RandomAdapter {
  readonly rank: number;
  readonly seed: number;
  /** Modules by the end of their paths; all of them by default. */
  readonly modules?: readonly string[];
  /** Weight-decomposed: magnitudes about a fifth away from the weights' own lengths. */
  readonly dora?: boolean;
}

/** Writes PEFT folders by name for the model of a checkpoint's folder. What B·A·x adds is about a third of a normed input. */
export async function writeRandomAdapters(
  folder: string,
  model: string,
  adapters: Readonly<Record<string, RandomAdapter>>,
): Promise<void> {
  const checkpoint = await openCheckpoint(model);
  const modules = layerModules(checkpoint.config);
  const lengths = await weightLengths(checkpoint, modules);
  for (const [name, { rank, seed, modules: targets, dora = false }] of Object.entries(adapters)) {
    const last = (path: string): string => path.split(".").at(-1) ?? path;
    const chosen = modules.filter(({ path }) => targets?.includes(last(path)) ?? true);
    const targetModules = [...new Set(chosen.map(({ path }) => last(path)))];
    await writeAdapter(join(folder, name), {
      config: { r: rank, loraAlpha: rank, baseModelName: null, targetModules, useDora: dora },
      tensors: chosen.map((module, i) => ({
        ...module,
        rank,
        a: gaussian(seed * 1000 + 2 * i, rank * module.inFeatures, 1 / Math.sqrt(module.inFeatures)),
        b: gaussian(seed * 1000 + 2 * i + 1, module.outFeatures * rank, 0.3 / Math.sqrt(rank)),
        ...(dora ? { magnitude: varied(lengths.get(module.path), seed * 1000 + i) } : {}),
      })),
    });
  }
}
