/** Adapters to try a model with, and rows that use them. */

import type { HostTaskAdapter, HostTaskModule } from "../../adapter/types.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { elementCount } from "../../tensor/shape.js";
import type { RunRow } from "./runner.js";
import type { Trial } from "./trial-inputs.js";

export const trialRow = (trial: Trial, seed: number, place: number): RunRow => ({ inputs: trial.of([seed]), place });

/** Every convolution, for each may have a kernel of its own, and a few of the other modules. */
export function trialModules(modules: readonly TaskModule[]): TaskModule[] {
  const ofKind = (kind: TaskModule["kind"]): TaskModule[] => modules.filter((module) => module.kind === kind);
  return [...new Set([...endsOf(ofKind("linear")), ...ofKind("convolution"), ...endsOf(ofKind("table"))])];
}

const endsOf = <T>(list: readonly T[]): T[] => [...list.slice(0, 1), ...list.slice(-1)];

/** LoRA on each of the modules. */
export function trialAdapter(modules: readonly TaskModule[], rank: number): HostTaskAdapter {
  const hosts = modules.map((module): [string, HostTaskModule] => [module.path, lora(module, rank)]);
  return adapterOf(`trial of rank ${rank}`, rank, new Map(hosts));
}

/**
 * Two adapters with everything that an adapter can bring: the first LoRA and a bias on each module, and DoRA on one of a kind, the second a
 * layer in the place of the last linear one or convolution.
 */
export function fullTrialAdapters(modules: readonly TaskModule[]): HostTaskAdapter[] {
  const first = new Map(
    modules.map((module) => [module.path, { ...lora(module, 8), addedBias: wave(module.outFeatures, 5) }]),
  );
  for (const kind of ["linear", "convolution"] as const) {
    const module = modules.find((other) => other.kind === kind && other.groups === 1);
    const host = module && first.get(module.path);
    if (module && host) {
      const magnitude = new Float32Array(module.outFeatures).fill(1);
      first.set(module.path, { ...host, magnitude });
    }
  }
  const last =
    modules.findLast(({ kind }) => kind === "linear") ?? modules.findLast(({ kind }) => kind === "convolution");
  const second = new Map<string, HostTaskModule>();
  if (last) {
    const { path, outFeatures, inFeatures, groups, kernel } = last;
    const weight = wave((outFeatures * inFeatures * elementCount(kernel)) / groups, 3);
    second.set(path, { ...nothing, whole: { weight, outFeatures, bias: null } });
  }
  return [adapterOf("trial of all parts", 8, first), adapterOf("trial of a layer", 0, second)];
}

const nothing = { rank: 0, a: null, b: null, magnitude: null, addedBias: null, bias: null, whole: null };

const adapterOf = (digest: string, rank: number, modules: ReadonlyMap<string, HostTaskModule>): HostTaskAdapter => {
  return { digest, rank, bytes: 0, labels: null, modules };
};

function lora({ inFeatures, outFeatures, kernel }: TaskModule, rank: number): HostTaskModule {
  return {
    ...nothing,
    rank,
    a: wave(rank * inFeatures * elementCount(kernel), rank),
    b: wave(rank * outFeatures, rank),
  };
}

const wave = (count: number, step: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => 0.05 * Math.sin(1 + i * step));
