/**
 * Compares the modules of the file with those that the config names. Extra modules are a fault, since PEFT would ignore them. Missing
 * ones are a warning.
 */

import type { ModuleIndex } from "./base.js";
import { type Faults, quoteList } from "./faults.js";
import { savesModule } from "./keys.js";
import type { TiePlan } from "./module-plan.js";
import type { PatternBudget } from "./patterns.js";
import { layerPlace, type MlxTargets, mlxTargets, type PeftTargets, peftTargets } from "./targets.js";

export interface CoverageContext {
  readonly targets: PeftTargets | MlxTargets;
  readonly targetModules: ModuleIndex;
  readonly budget: PatternBudget;
  readonly faults: Faults;
  readonly warnings: string[];
  /** Paths of the modules that the file holds whole. */
  readonly wholes: ReadonlySet<string>;
  /** Paths, as in the file, of heads and embeddings that it holds whole without taking their place. */
  readonly copied: ReadonlySet<string>;
  /** Heads that the config names by the embeddings. */
  readonly ties: readonly TiePlan[];
}

/** `found` maps each module's path in the base to its path in the trained model. */
export function compareModules(found: ReadonlyMap<string, string>, context: CoverageContext): void {
  const { targets, targetModules, faults } = context;
  const base = targetModules.modules();
  const names = targets.kind === "peft" ? peftTargets(targets, context) : mlxTargets(targets, layerCount(base));
  if (!names || (found.size === 0 && context.wholes.size === 0)) return;
  const before = faults.count;
  const isTied = (path: string): boolean => context.ties.some(({ head }) => head.path === path);
  const unnamed = [...found].filter(([path, source]) => !isTied(path) && !names(source)).map(([, source]) => source);
  const toSource = sourceNaming(found, targetModules);
  const isNamed = (path: string): boolean =>
    targetModules.spellingsOf(path).some((spelling) => names(toSource(spelling)));
  const promised = base.filter((path) => !found.has(path) && isNamed(path) && isExpected(targets, path, found));
  if (faults.count > before) return; // the budget ran out, so the comparison is incomplete
  if (unnamed.length > 0) {
    const count = unnamed.length === 1 ? "1 module" : `${unnamed.length} modules`;
    faults.invalid(`the file holds ${count} that the config does not name (${keysOf(targets)}): ${quoteList(unnamed)}`);
  }
  context.warnings.push(...missingWarning(promised), ...savedWarning(targets, context));
}

/** If the config lists no names, the file's names apply to every layer: a layer that lacks one of them has a missing module. */
function isExpected(targets: PeftTargets | MlxTargets, path: string, found: ReadonlyMap<string, string>): boolean {
  if (targets.kind === "peft" || targets.keys !== null) return true;
  const within = layerPlace(path)?.within;
  return within !== undefined && [...found.keys()].some((other) => layerPlace(other)?.within === within);
}

/** Maps paths of the base to paths of the trained model, as far as the file shows how they differ. */
function sourceNaming(found: ReadonlyMap<string, string>, targetModules: ModuleIndex): (path: string) => string {
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

/** Heads and embeddings that should have been saved in full. */
function savedWarning(
  targets: PeftTargets | MlxTargets,
  { targetModules, wholes, copied }: Pick<CoverageContext, "targetModules" | "wholes" | "copied">,
): string[] {
  if (targets.kind === "mlx") return [];
  const whole = targetModules.modules().filter((path) => layerPlace(path) === null);
  const lacking = targets.modulesToSave.filter((name) => {
    const named = whole.filter((path) => savesModule([name], path));
    const isHeld = named.some((path) => wholes.has(path)) || [...copied].some((path) => savesModule([name], path));
    return named.length > 0 && !isHeld;
  });
  return lacking.length === 0
    ? []
    : [`modules_to_save names what the file lacks, which stays as in the base: ${quoteList(lacking)}.`];
}
