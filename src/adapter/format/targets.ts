/**
 * Which modules a config names: PEFT's rules (`check_target_module_exists` of PEFT 0.21) in linear time, and mlx-lm's.
 */

import type { ModuleIndex } from "./base.js";
import { ExpressionFault } from "./expressions.js";
import { type Faults, quote } from "./faults.js";
import type { CompiledExpression, ExpressionUse, PatternBudget } from "./patterns.js";

export interface PeftTargets {
  readonly kind: "peft";
  /** null: missing, so nothing is named. A string is an expression or `all-linear`. */
  readonly targetModules: string | readonly string[] | null;
  readonly excludeModules: string | readonly string[];
  /** Empty: every layer. */
  readonly layersToTransform: readonly number[];
  readonly layersPattern: readonly string[];
  readonly modulesToSave: readonly string[];
}

/** Whether a module is named, by its path in the trained model. */
export type NamesModule = (path: string) => boolean;

export interface TargetContext {
  readonly budget: PatternBudget;
  readonly faults: Faults;
  readonly warnings: string[];
  readonly targetModules: Pick<ModuleIndex, "isLinear">;
}

/** null, with a warning, if the config names no targets or names them in an expression that is not evaluated. */
export function peftTargets(config: PeftTargets, context: TargetContext): NamesModule | null {
  const { targetModules, layersToTransform, layersPattern } = config;
  const { faults, warnings } = context;
  if (targetModules === null) {
    warnings.push("The config has no target_modules, so the file's modules were not compared with it.");
    return null;
  }
  for (const [key, list] of Object.entries({ layers_to_transform: layersToTransform, layers_pattern: layersPattern })) {
    if (typeof targetModules === "string" && list.length > 0) {
      faults.invalid(`${key} is set, and target_modules is ${quote(targetModules)}; with it only a list is allowed`);
    }
  }
  try {
    const isExcluded = excludes(config, context);
    const isTarget = targets(config, context);
    return isExcluded && isTarget && ((path) => !isExcluded(path) && isTarget(path));
  } catch (cause) {
    if (!(cause instanceof ExpressionFault)) throw cause;
    warnings.push(
      `The file's modules were not compared with the config: ${cause.message} is not a linear-time expression.`,
    );
    return null;
  }
}

function targets(config: PeftTargets, context: TargetContext): NamesModule | null {
  const { targetModules } = config;
  if (typeof targetModules === "string") {
    if (targetModules.toLowerCase() === "all-linear") return (path) => context.targetModules.isLinear(path);
    return wholePath("target_modules", targetModules, context);
  }
  const list = new Set(targetModules);
  const isListed = suffixIn(list);
  if (config.layersToTransform.length === 0) return isListed;
  const layers = new Set(config.layersToTransform);
  const layerOf = layerIndex(config.layersPattern, context);
  return layerOf && ((path) => list.has(path) || (isListed(path) && layers.has(layerOf(path) ?? -1)));
}

function excludes({ excludeModules, modulesToSave }: PeftTargets, context: TargetContext): NamesModule | null {
  const excluded =
    typeof excludeModules === "string"
      ? wholePath("exclude_modules", excludeModules, context)
      : suffixIn(new Set(excludeModules));
  const saved = modulesToSave.map((name) => {
    const wrap = (source: string): string => `^(?:(?:^|.*\\.)${source}(?:$|\\..*))`;
    return matcher("modules_to_save", name, wrap, context);
  });
  if (!excluded || saved.includes(null)) return null;
  return (path) => excluded(path) || saved.some((isSaved) => isSaved?.(path));
}

/** Whether a path, or the part after one of its dots, is in the list. */
function suffixIn(list: ReadonlySet<string>): NamesModule {
  return (path) => {
    for (let at = 0; ; ) {
      if (list.has(path.slice(at))) return true;
      const dot = path.indexOf(".", at);
      if (dot < 0) return false;
      at = dot + 1;
    }
  };
}

const wholePath = (key: string, pattern: string, context: TargetContext): NamesModule | null =>
  matcher(key, pattern, (source) => `^(?:${source})$`, context, { guarded: true });

/** Throws ExpressionFault; null, with a fault, if the budget is exceeded. */
function matcher(
  key: string,
  pattern: string,
  wrap: (source: string) => string,
  { budget }: TargetContext,
  options: Pick<ExpressionUse, "guarded"> = {},
): NamesModule | null {
  const compiled = compile(pattern, { key, wrap, ...options }, budget);
  return compiled && ((path) => budget.spend(key, compiled.size, path) && compiled.find(path) !== null);
}

function compile(pattern: string, use: ExpressionUse, budget: PatternBudget): CompiledExpression | null {
  try {
    return budget.compile(pattern, use);
  } catch (cause) {
    if (!(cause instanceof ExpressionFault)) throw cause;
    throw new ExpressionFault(`${use.key} ${quote(pattern)} (${cause.message})`);
  }
}

/** The number after the first segment that a pattern matches, or after any segment without patterns. */
function layerIndex(patterns: readonly string[], { budget }: TargetContext): ((path: string) => number | null) | null {
  const key = "layers_pattern";
  const wrap = (source: string): string => `^(?:(?:^|.*?\\.)${source}\\.(?P<idx>\\d+)\\.)`;
  const compiled =
    patterns.length === 0
      ? [compile(".", { key, wrap: () => "^.*?\\.[^.]*\\.(?P<idx>\\d+)\\.", groups: ["idx"] }, budget)]
      : patterns.map((pattern) => compile(pattern, { key, wrap, groups: ["idx"] }, budget));
  if (compiled.includes(null)) return null;
  return (path) => {
    for (const expression of compiled) {
      if (!expression || !budget.spend(key, expression.size, path)) return null;
      const found = expression.find(path);
      if (found) return found.idx === undefined ? null : Number(found.idx);
    }
    return null;
  };
}

export interface MlxTargets {
  readonly kind: "mlx";
  /** Paths within a layer, or full paths; null: mlx-lm's default, which depends on its release. */
  readonly keys: readonly string[] | null;
  /** The number of layers, counted from the last; 0: all. */
  readonly layers: number;
}

/** Without a base (`layerCount` null) every layer may be meant. */
export function mlxTargets({ keys, layers }: MlxTargets, layerCount: number | null): NamesModule {
  const list = keys && new Set(keys);
  const first = layers === 0 || layerCount === null ? 0 : layerCount - layers;
  return (path) => {
    const place = layerPlace(path);
    if (!place) return list === null || list.has(path);
    return place.layer >= first && (list === null || list.has(place.within) || list.has(path));
  };
}

/** `model.layers.3.mlp.up_proj` → layer 3, `mlp.up_proj`. */
export function layerPlace(path: string): { readonly layer: number; readonly within: string } | null {
  const segments = path.split(".");
  const at = segments.findIndex(
    (name, i) => (name === "layers" || name === "h") && /^\d{1,9}$/.test(segments[i + 1] ?? ""),
  );
  return at < 0 ? null : { layer: Number(segments[at + 1]), within: segments.slice(at + 2).join(".") };
}
