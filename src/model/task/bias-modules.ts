/**
 * The modules of a task model that take no product: normalizations, whose weight and bias adapters can replace, and others whose bias alone they
 * can change. A batch normalization that was folded into another layer is one too, where the checkpoint tells which one it was.
 */

import { assert } from "../../base/errors.js";
import { type BiasNode, findBiasNodes, type Scale } from "./bias-nodes.js";
import { type CheckpointContent, isSameVector, type StoredVector } from "./content.js";
import { type FoldedPair, foldableLayers, pairNorms } from "./folded-norms.js";
import { type ModuleName, modulesAt, pathsAgree } from "./names.js";
import { type TaskGraph, type TaskModule, withRole } from "./target-modules.js";
import { floatsOf } from "./weight-values.js";

/** `modules`: the others, with their final paths. `content`: the checkpoint; null if it is not there. */
export async function findBiasModules(
  graphs: readonly TaskGraph[],
  modules: readonly TaskModule[],
  content: CheckpointContent | null,
): Promise<TaskModule[]> {
  const none: ReadonlyMap<string, StoredVector> = new Map();
  const [biases, scales] = content ? [await content.biases(), await content.scales()] : [none, none];
  const found = await modulesInGraphs(graphs, modules, { biases, scales });
  const folded = content ? pairNorms(await content.batchNorms(), await foldableLayers(modules, biases)) : [];
  return [...found, ...modulesOutsideGraphs([...modules, ...found], biases, folded)];
}

async function modulesInGraphs(
  graphs: readonly TaskGraph[],
  modules: readonly TaskModule[],
  stored: StoredVectors,
): Promise<TaskModule[]> {
  const found = new Map<string, TaskModule>();
  for (const graph of graphs) {
    const weighted = modules.flatMap(({ uses }) => uses.flatMap((use) => (use.graph === graph ? [use.target] : [])));
    for (const node of findBiasNodes(graph.graph, weighted)) {
      const module = await readModule(node, graph, stored);
      // Another layer's own bias, in a place where it cannot be told.
      if (!module || modules.some(({ path }) => path === module.path)) continue;
      const key = JSON.stringify([module.path, module.outFeatures]);
      const known = found.get(key);
      found.set(key, known ? joined(known, module) : module);
    }
  }
  return [...found.values()].filter(({ uses }) => uses.length > 0);
}

/** The checkpoint's vectors by their modules' paths. */
interface StoredVectors {
  readonly biases: ReadonlyMap<string, StoredVector>;
  readonly scales: ReadonlyMap<string, StoredVector>;
}

/** A normalization whose weight is not known everywhere takes none. */
function joined(known: TaskModule, more: TaskModule): TaskModule {
  const uses = [...known.uses, ...more.uses];
  const hasBias = uses.map(({ target }) => target.bias !== null);
  const isNorm = known.kind === "norm" && more.kind === "norm" && new Set(hasBias).size === 1;
  if (isNorm) return { ...known, uses };
  const asBiases = uses.flatMap(({ graph, target }) => {
    const { bias } = target;
    return bias
      ? [{ graph, target: { ...target, kind: "bias", node: bias.add ?? target.node, weight: bias.values } as const }]
      : [];
  });
  return { ...known, kind: "bias", uses: asBiases };
}

/** Biases of the checkpoint that no node of the graphs adds by itself: those of folded normalizations, and those whose place is unknown. */
function modulesOutsideGraphs(
  known: readonly TaskModule[],
  biases: ReadonlyMap<string, StoredVector>,
  folded: readonly FoldedPair[],
): TaskModule[] {
  return [...biases.values()].flatMap(({ path, values, stored }) => {
    const into = folded.find(({ norm }) => norm.path === path)?.into ?? null;
    if (into === null && modulesAt(known, path).length > 0) return [];
    const names: ModuleName[] = [{ by: "content", path }];
    const foldedInto = into?.path ?? null;
    return [{ ...biasOnly(values.length), path, names, storedBias: stored, foldedInto, uses: [] }];
  });
}

const biasOnly = (size: number) =>
  ({
    ...{ kind: "bias", inFeatures: size, outFeatures: size, kernel: [], groups: 1 },
    ...{ foldedNorm: { kind: "none" }, stored: null },
  }) as const satisfies Partial<TaskModule>;

/** null: nothing tells which module it is, or its numbers are not the module's own. */
async function readModule(node: BiasNode, graph: TaskGraph, stored: StoredVectors): Promise<TaskModule | null> {
  const bias = node.target.bias ? await readBias(node, graph, stored.biases) : null;
  const { scale } = node;
  if (!scale) return bias;
  const values = await floatsOf(scale.values);
  const stated = statedBy(scale.path, "initializer", graph);
  if (!bias) return await readScale(node, scale, { values, stated, graph, scales: stored.scales });
  const { path } = bias;
  const own = [...stored.scales.values()].filter((other) => pathsAgree(other.path, path));
  const isKnown =
    own.length > 0
      ? own.length === 1 && own.every((other) => isSameVector(values, other.values, scale.values.value.type))
      : stated.some((name) => pathsAgree(name.path, path));
  if (!isKnown) return bias;
  const { target } = node;
  const norm = { ...target, kind: "norm", node: scale.node, weight: scale.values, input: scale.input } as const;
  const names = [...bias.names, ...stated.filter((name) => pathsAgree(name.path, path))];
  return { ...bias, kind: "norm", names, stored: own[0]?.stored ?? null, uses: [{ graph, target: norm }] };
}

interface FoundScale {
  readonly values: Float32Array;
  readonly stated: readonly ModuleName[];
  readonly graph: TaskGraph;
  readonly scales: ReadonlyMap<string, StoredVector>;
}

/** A weight that no known bias follows. */
async function readScale(
  { target, nodePath }: BiasNode,
  scale: Scale,
  { values, stated, graph, scales }: FoundScale,
): Promise<TaskModule | null> {
  if (target.bias?.add === scale.node) return null; // its operator adds a bias that is not known
  const hints = [...stated, ...statedBy(nodePath, "node", graph)];
  const type = scale.values.value.type;
  const match = onlyMatch(
    [...scales.values()].filter((other) => isSameVector(values, other.values, type)),
    hints,
  );
  const differs = stated.some(({ path }) => [...scales.keys()].some((other) => pathsAgree(path, other)));
  const names = match
    ? [{ by: "content" as const, path: match.path }, ...hints.filter(({ path }) => pathsAgree(path, match.path))]
    : differs
      ? []
      : stated;
  const path = names[0]?.path;
  if (path === undefined) return null;
  const norm = {
    ...target,
    kind: "norm",
    node: scale.node,
    weight: scale.values,
    input: scale.input,
    bias: null,
  } as const;
  const rest = { path, names, stored: match?.stored ?? null, storedBias: null, foldedInto: null };
  return { ...biasOnly(target.outFeatures), kind: "norm", ...rest, uses: [{ graph, target: norm }] };
}

const statedBy = (path: string | null, by: ModuleName["by"], { role }: TaskGraph): ModuleName[] =>
  path === null ? [] : [{ by, path: withRole(path, role) }];

/** null: nothing tells which module it is, or its numbers are not the module's own bias. */
async function readBias(
  { target, biasPath, nodePath, isCertain }: BiasNode,
  graph: TaskGraph,
  biases: ReadonlyMap<string, StoredVector>,
): Promise<TaskModule | null> {
  const { bias } = target;
  assert(bias, "the node adds a bias");
  const values = await floatsOf(bias.values);
  const { type } = bias.values.value;
  const matches = [...biases.values()].filter((other) => isSameVector(values, other.values, type));
  const stated = [...statedBy(biasPath, "bias", graph), ...statedBy(nodePath, "node", graph)];
  const match = onlyMatch(matches, stated);
  const names = namesFrom(match, stated, isCertain, biases);
  const path = names[0]?.path;
  if (path === undefined) return null;
  const storedBias = match?.stored ?? null;
  return { ...biasOnly(target.outFeatures), path, names, storedBias, foldedInto: null, uses: [{ graph, target }] };
}

function namesFrom(
  match: StoredVector | null,
  stated: readonly ModuleName[],
  isCertain: boolean,
  biases: ReadonlyMap<string, StoredVector>,
): readonly ModuleName[] {
  if (match) {
    return [{ by: "content", path: match.path }, ...stated.filter(({ path }) => pathsAgree(path, match.path))];
  }
  // A constant that differs from the bias of its name holds something else as well.
  const differs = stated.some(({ path }) => [...biases.keys()].some((stored) => pathsAgree(path, stored)));
  if (differs) return [];
  return isCertain ? stated : stated.filter(({ by }) => by === "bias");
}

/** Equal biases are told apart by the names that the file gives. */
function onlyMatch(matches: readonly StoredVector[], stated: readonly ModuleName[]): StoredVector | null {
  const tests: readonly ((path: string) => boolean)[] = [
    ...stated.map((name) => (path: string) => name.path === path),
    (path) => stated.some((name) => pathsAgree(name.path, path)),
    () => true,
  ];
  for (const fits of tests) {
    const [match, ...more] = matches.filter(({ path }) => fits(path));
    if (match) return more.length === 0 ? match : null;
  }
  return null;
}
