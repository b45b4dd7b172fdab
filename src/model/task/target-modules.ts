/** The target modules of a task model: what adapters can change, under every name that an adapter may use for it. */

import { LorikeetError } from "../../base/errors.js";
import type { Graph } from "../../graph/types.js";
import type { StoredWeight } from "../blueprint.js";
import type { CheckpointContent, ContentMatch } from "./content.js";
import { type FileRole, type Manifest, manifestName } from "./manifest.js";
import { type ModuleName, pathsAgree } from "./names.js";
import { unsharedNames } from "./shared-tables.js";
import { hasSameValues } from "./weight-values.js";
import { findWeightedNodes, type ModuleKind, type WeightedNode } from "./weighted-nodes.js";

/** A graph of a model: a file's, or one branch of a merged file's. */
export interface TaskGraph {
  readonly role: FileRole;
  /** For messages: the file, and the branch. */
  readonly label: string;
  readonly graph: Graph;
}

/**
 * A batch normalization folded into the weight scales an adapter's product too. "none": there is none. "measured": its factor for each
 * output. "unknown": there may be one, and nothing tells its factor, so adapters of this module cannot be served.
 */
export type FoldedNorm =
  | { readonly kind: "none" | "unknown" }
  | { readonly kind: "measured"; readonly factors: Float32Array };

export interface TaskModule {
  /** The most certain of its names. */
  readonly path: string;
  readonly kind: ModuleKind;
  /** The most certain first. */
  readonly names: readonly ModuleName[];
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly kernel: readonly number[];
  readonly groups: number;
  readonly foldedNorm: FoldedNorm;
  /** Its weight in the checkpoint beside the files; null if it is not there. */
  readonly stored: StoredWeight | null;
  /** Its bias there; null if it is not there. */
  readonly storedBias: StoredWeight | null;
  /** Of a batch normalization that was folded into another layer: that layer's path; else null. */
  readonly foldedInto: string | null;
  /** Where it is applied. A module of a decoder is in several graphs. Empty: the graphs do not show where. */
  readonly uses: readonly { readonly graph: TaskGraph; readonly target: WeightedNode }[];
}

/** What a manifest says of modules. */
export type ModuleRules = Pick<Manifest, "rename" | "foldedNorms">;

/**
 * The modules of every kind except "norm" and "bias", which `findBiasModules` finds. `content`: the checkpoint of the model; null if it is not there.
 * Throws `model_invalid` for a rule of a module that is not there.
 */
export async function findTaskModules(
  graphs: readonly TaskGraph[],
  content: CheckpointContent | null,
  rules: ModuleRules = {},
): Promise<TaskModule[]> {
  const modules = new Map<string, TaskModule>();
  const unused = new Set(rules.rename?.keys());
  for (const graph of graphs) {
    for (const target of findWeightedNodes(graph.graph)) {
      const read = await readModule(graph, target, content, rules);
      for (const name of namesInFile(target)) unused.delete(name);
      const module = (await callOf(modules, read)) ?? read;
      const known = modules.get(keyOf(module));
      modules.set(keyOf(module), known ? joined(known, module) : module);
    }
  }
  const [missing] = unused;
  if (missing === undefined) return withOwnPaths([...modules.values()]);
  const message = `\`rename\` of ${manifestName} names ${JSON.stringify(missing)}, which is not a target module of the model.`;
  throw new LorikeetError("model_invalid", message, { param: "rename" });
}

const keyOf = ({ path, kind, inFeatures, outFeatures, kernel }: TaskModule): string =>
  JSON.stringify([path, kind, inFeatures, outFeatures, kernel]);

/**
 * PyTorch's TorchScript exporter numbers the calls of a module after the first (`query_1`), and stores a copy of its weight for each. A module
 * that is such a call of a known one gets its name. null: it is not.
 */
async function callOf(modules: ReadonlyMap<string, TaskModule>, module: TaskModule): Promise<TaskModule | null> {
  const path = module.names[0]?.by === "node" ? /^(.+)_[1-9]\d*$/.exec(module.path)?.[1] : undefined;
  if (path === undefined) return null;
  const first = modules.get(keyOf({ ...module, path }))?.uses[0];
  const [use] = module.uses;
  if (!first || !use || first.graph !== use.graph || first.target.outFirst !== use.target.outFirst) return null;
  return (await hasSameValues(first.target.weight, use.target.weight)) ? { ...module, path, names: [] } : null;
}

/** A table that is the head too is two modules, and adapters know each by its path. */
function withOwnPaths(modules: readonly TaskModule[]): TaskModule[] {
  const stated = new Set(modules.map(({ path }) => path));
  const taken = new Set<string>();
  return modules.map((module) => {
    const { path, kind, names } = module;
    const others = [...names.map((name) => name.path), ...(kind === "linear" ? ["lm_head"] : []), `${path}.${kind}`];
    const own = taken.has(path) ? (others.find((name) => !stated.has(name) && !taken.has(name)) ?? path) : path;
    taken.add(own);
    return { ...module, path: own };
  });
}

/** The names by which a manifest may mean a module. */
const namesInFile = ({ node, names }: WeightedNode): string[] => [node.name, ...names.map(({ path }) => path)];

async function readModule(
  graph: TaskGraph,
  target: WeightedNode,
  content: CheckpointContent | null,
  { rename, foldedNorms }: ModuleRules,
): Promise<TaskModule> {
  const { kind, inFeatures, outFeatures, kernel, groups } = target;
  const { matches, stated, isFolded } = await matchWeight(target, graph.role, content);
  const renamed = namesInFile(target).flatMap((name) => rename?.get(name) ?? []);
  const found = [...matches.map(({ path }) => ({ by: "content" as const, path })), ...stated];
  const names: ModuleName[] = [
    ...renamed.map((path) => ({ by: "manifest" as const, path })),
    ...unsharedNames(kind, found, graph.role),
  ];
  const path = names[0]?.path ?? target.node.name;
  const measured = foldedNormOf(target.mayBeFolded || isFolded, matches);
  const hasNone = foldedNorms === false || content?.hasBatchNorms === false;
  const foldedNorm: FoldedNorm = measured.kind === "unknown" && hasNone ? { kind: "none" } : measured;
  const [match] = matches;
  const biases = content ? await content.biases() : null;
  const storedBias = biases?.get(match?.path ?? path)?.stored ?? null;
  return {
    ...{ path, kind, names, inFeatures, outFeatures, kernel, groups, foldedNorm },
    ...{ stored: match?.stored ?? null, storedBias, foldedInto: null, uses: [{ graph, target }] },
  };
}

interface WeightMatch {
  /** The tensors of the checkpoint that the weight equals, or is a scaled copy of. */
  readonly matches: readonly ContentMatch[];
  /** The names that the file gives. */
  readonly stated: readonly ModuleName[];
  /** Whether a normalization was folded into a linear layer. */
  readonly isFolded: boolean;
}

async function matchWeight(
  target: WeightedNode,
  role: FileRole,
  content: CheckpointContent | null,
): Promise<WeightMatch> {
  const inFile = target.names.map(({ by, path }) => ({ by, path: withRole(path, role) }));
  const exact = (await content?.match(target)) ?? [];
  const scaled = exact.length === 0 && isGemm(target) ? ((await content?.match(target, true)) ?? []) : [];
  const isFolded = scaled.length > 0 || (exact.length === 0 && hasForeignScope(target, inFile));
  // The scope of a folded layer is the normalization's.
  const stated = isFolded ? inFile.filter(({ by }) => by !== "scope") : inFile;
  return { matches: narrowed(scaled.length > 0 ? scaled : exact, stated), stated, isFolded };
}

/** Paths in an encoder's file lack the prefix `encoder`. */
export function withRole(path: string, role: FileRole): string {
  return role === "encoder" && !path.split(".").includes("encoder") ? `encoder.${path}` : path;
}

/** Equal tensors under several names are narrowed by the names that the file itself gives. Tied ones keep all of their names. */
function narrowed(matches: readonly ContentMatch[], stated: readonly ModuleName[]): readonly ContentMatch[] {
  if (matches.length < 2) return matches;
  const agreeing = matches.filter(({ path }) => stated.some((name) => pathsAgree(name.path, path)));
  return agreeing.length > 0 ? agreeing : matches;
}

/** A linear layer with a bias of its own, into which PyTorch's current exporter folds a normalization. */
const isGemm = ({ kind, bias }: WeightedNode): boolean => kind === "linear" && bias !== null && bias.add === null;

/** Whether a linear layer's node is of another module than its weight, and of none around that. */
function hasForeignScope(target: WeightedNode, names: readonly ModuleName[]): boolean {
  const pathBy = (by: ModuleName["by"]): string | undefined => names.find((name) => name.by === by)?.path;
  const [own, scope] = [pathBy("initializer"), pathBy("scope")];
  if (!isGemm(target) || own === undefined || scope === undefined) return false;
  return !pathsAgree(own, scope) && !own.startsWith(`${scope}.`);
}

function foldedNormOf(mayBeFolded: boolean, matches: readonly ContentMatch[]): FoldedNorm {
  if (!mayBeFolded || matches.some(({ factor }) => factor === null)) return { kind: "none" };
  const [match, ...others] = matches;
  return match?.factor && others.length === 0 ? { kind: "measured", factors: match.factor } : { kind: "unknown" };
}

function joined(known: TaskModule, more: TaskModule): TaskModule {
  const others = more.names.filter(({ path }) => known.names.every((name) => name.path !== path));
  const names = [...known.names, ...others];
  return {
    ...known,
    names,
    stored: known.stored ?? more.stored,
    storedBias: known.storedBias ?? more.storedBias,
    uses: [...known.uses, ...more.uses],
  };
}
