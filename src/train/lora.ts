/** Chooses the target modules of an adapter, their ranks and scales, as PEFT does. */

import { methodOf } from "../adapter/format.js";
import { LorikeetError } from "../base/errors.js";
import { at, last } from "../base/list.js";
import type { TargetModule } from "../model/blueprint.js";
import { isWrapped } from "../model/checkpoint/names.js";
import { expectedTensors, layerModules, targetModulesWithHead } from "../model/modules.js";
import type { TrainedModule } from "../model/training/types.js";
import type { DecoderConfig } from "../model/types.js";
import { Draws, purposes } from "./random.js";
import type { Parameter } from "./step.js";

export interface LoraModule extends TargetModule, TrainedModule {
  readonly alpha: number;
}

export interface LoraShape {
  readonly rank: number;
  readonly alpha: number;
  /** Scale by alpha / sqrt(rank) (arXiv:2312.03732). */
  readonly rslora: boolean;
}

const scaleOf = ({ rank, alpha, rslora }: LoraShape): number =>
  methodOf({ peft_type: "LORA", use_rslora: rslora }).scaleOf(alpha, rank);

/** Every linear layer but the head. */
export const allLinear = "all-linear";

/**
 * The target modules in the order of the forward pass. `targets` is `all-linear`, or names and paths; each selects the modules
 * whose path equals it or ends in it. Throws `invalid_value` for a name that selects none.
 */
export function chooseModules(config: DecoderConfig, targets: readonly string[], shape: LoraShape): LoraModule[] {
  const scale = scaleOf(shape);
  const { rank, alpha } = shape;
  const sized = (module: TargetModule): LoraModule => ({ ...module, rank, alpha, scale });
  if (isAllLinear(targets)) return layerModules(config).map(sized);
  const modules = targetModulesWithHead(config);
  const unknown = targets.filter((target) => !modules.some(({ path }) => isNamed(path, target)));
  if (unknown.length > 0) {
    const allowed = [...new Set(modules.map(({ path }) => last(path.split("."))))];
    throw new LorikeetError(
      "invalid_value",
      `--target-modules ${unknown.join(", ")} matches no linear layer of the model; it has ${allowed.join(", ")}. ${allLinear} selects all.`,
      { param: "--target-modules", found: unknown, allowed },
    );
  }
  return modules.filter(({ path }) => targets.some((target) => isNamed(path, target))).map(sized);
}

const isAllLinear = (targets: readonly string[]): boolean => targets.length === 1 && targets[0] === allLinear;
const isNamed = (path: string, name: string): boolean => path === name || path.endsWith(`.${name}`);

/** From this many modules on, PEFT shortens paths to suffixes. */
const manyTargets = 20;

/** `target_modules` as PEFT writes them: the given names, or for all-linear the paths or their shortest suffixes. */
export function peftTargetModules(
  config: DecoderConfig,
  targets: readonly string[],
  modules: readonly TargetModule[],
): string[] {
  if (!isAllLinear(targets) && !isWrapped(config.family)) return [...targets];
  return shortNames(config, modules);
}

/**
 * The modules' paths, or for twenty or more the shortest suffixes that match no other module. Beside other models, whose modules
 * are not known here, always the paths.
 */
export function shortNames(config: DecoderConfig, modules: readonly TargetModule[]): string[] {
  const paths = modules.map(({ path }) => path);
  if (paths.length < manyTargets || isWrapped(config.family)) return paths;
  const suffixes = shortestSuffixes(paths, otherModules(config, new Set(paths)));
  return suffixes.length < paths.length ? suffixes : paths;
}

function otherModules(config: DecoderConfig, taken: ReadonlySet<string>): string[] {
  const modules = new Set<string>([config.head.path]);
  for (const { name } of expectedTensors(config)) {
    const parts = name.split(".").slice(0, -1);
    for (let i = 1; i <= parts.length; i++) modules.add(parts.slice(0, i).join("."));
  }
  return [...modules].filter((module) => !taken.has(module));
}

function shortestSuffixes(paths: readonly string[], others: readonly string[]): string[] {
  const foreign = new Set(others.flatMap(suffixesOf));
  const chosen = new Set<string>();
  for (const path of paths) {
    const suffixes = suffixesOf(path);
    if (suffixes.some((suffix) => chosen.has(suffix))) continue;
    const own = suffixes.find((suffix) => !foreign.has(suffix));
    if (own !== undefined) chosen.add(own);
  }
  return [...chosen];
}

/** `a.b.c` → `c`, `b.c`, `a.b.c`. */
function suffixesOf(path: string): string[] {
  const parts = path.split(".");
  return parts.map((_, i) => parts.slice(parts.length - 1 - i).join("."));
}

/** Initializes A from U(-1/sqrt(in), 1/sqrt(in)) and B with zeros, as PEFT does: the adapter changes nothing at first. */
export function initialize(parameters: readonly Parameter[], seed: number): void {
  for (const [i, { name, shape, data }] of parameters.entries()) {
    if (!name.endsWith(".lora_A")) {
      data.fill(0);
      continue;
    }
    const bound = 1 / Math.sqrt(at(shape, 0)); // [in, rank]
    const draws = new Draws(seed, purposes.initialize, i);
    for (let j = 0; j < data.length; j++) data[j] = bound * (2 * draws.next() - 1);
  }
}
