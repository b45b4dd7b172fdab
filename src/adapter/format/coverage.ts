/**
 * Compares the modules of the file with those that the config names: more are a fault, since PEFT would leave them out; fewer are
 * served, with a warning.
 */

import { type Faults, quoteList } from "./faults.js";
import type { PatternBudget } from "./patterns.js";
import type { TargetModuleIndex } from "./target-modules.js";
import { layerPlace, type MlxTargets, mlxTargets, type PeftTargets, peftTargets } from "./targets.js";

export interface CoverageContext {
  readonly targets: PeftTargets | MlxTargets;
  readonly targetModules: TargetModuleIndex;
  readonly budget: PatternBudget;
  readonly faults: Faults;
  readonly warnings: string[];
}

/** `found`: by the base's path, each module's path in the model that was trained. */
export function compareModules(found: ReadonlyMap<string, string>, context: CoverageContext): void {
  const { targets, targetModules, faults } = context;
  const base = targetModules.modules();
  const names = targets.kind === "peft" ? peftTargets(targets, context) : mlxTargets(targets, layerCount(base));
  if (!names || found.size === 0) return;
  const before = faults.count;
  const unnamed = [...found].filter(([, source]) => !names(source)).map(([, source]) => source);
  const toSource = sourceNaming(found, targetModules);
  const promised = base.filter((path) => !found.has(path) && names(toSource(path)) && isTold(targets, path, found));
  if (faults.count > before) return; // the budget was spent on the way: nothing that follows is known
  if (unnamed.length > 0) {
    const count = unnamed.length === 1 ? "1 module" : `${unnamed.length} modules`;
    faults.invalid(`the file holds ${count} that the config does not name (${keysOf(targets)}): ${quoteList(unnamed)}`);
  }
  context.warnings.push(...missingWarning(promised), ...savedWarning(targets, base));
}

/** Where the config does not list names, those of the file count: a layer without them is missing, other names are not. */
function isTold(targets: PeftTargets | MlxTargets, path: string, found: ReadonlyMap<string, string>): boolean {
  if (targets.kind === "peft" || targets.keys !== null) return true;
  const within = layerPlace(path)?.within;
  return within !== undefined && [...found.keys()].some((other) => layerPlace(other)?.within === within);
}

/** From the base's paths to those of the model that was trained, as far as the file shows how they differ. */
function sourceNaming(found: ReadonlyMap<string, string>, targetModules: TargetModuleIndex): (path: string) => string {
  for (const [path, source] of found) {
    const [own, other] = [targetModules.wrapperOf(path), targetModules.wrapperOf(source)];
    if (own === other) continue;
    return (any) => (targetModules.wrapperOf(any) === own ? other + any.slice(own.length) : any);
  }
  return (path) => path;
}

function layerCount(base: readonly string[]): number | null {
  const last = base.reduce((most, path) => Math.max(most, layerPlace(path)?.layer ?? -1), -1);
  return last < 0 ? null : last + 1;
}

function keysOf(targets: PeftTargets | MlxTargets): string {
  return targets.kind === "peft"
    ? "target_modules, layers_to_transform, layers_pattern, exclude_modules, modules_to_save"
    : "lora_parameters.keys, num_layers";
}

function missingWarning(missing: readonly string[]): string[] {
  if (missing.length === 0) return [];
  const those =
    missing.length === 1
      ? "1 module that the file lacks, which stays"
      : `${missing.length} modules that the file lacks, which stay`;
  return [`The config names ${those} as in the base: ${quoteList(missing)}.`];
}

/** Heads and embeddings that were to be saved whole: a file that holds one is refused elsewhere. */
function savedWarning(targets: PeftTargets | MlxTargets, base: readonly string[]): string[] {
  if (targets.kind === "mlx") return [];
  const whole = base.filter((path) => layerPlace(path) === null);
  const lacking = targets.modulesToSave.filter((name) => whole.some((path) => `.${path}`.endsWith(`.${name}`)));
  return lacking.length === 0
    ? []
    : [`modules_to_save names what the file lacks, which stays as in the base: ${quoteList(lacking)}.`];
}
