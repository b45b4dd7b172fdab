/**
 * The modules of a task model whose bias alone adapters can change: normalizations and the like. A batch normalization that was folded into
 * another layer is one too, where the checkpoint tells which one it was.
 */

import { type BiasNode, findBiasNodes } from "./bias-nodes.js";
import { type CheckpointContent, isSameVector, type StoredBias } from "./content.js";
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
  const biases = content ? await content.biases() : new Map<string, StoredBias>();
  const found = await modulesInGraphs(graphs, modules, biases);
  const folded = content ? pairNorms(await content.batchNorms(), await foldableLayers(modules, biases)) : [];
  return [...found, ...modulesOutsideGraphs([...modules, ...found], biases, folded)];
}

async function modulesInGraphs(
  graphs: readonly TaskGraph[],
  modules: readonly TaskModule[],
  biases: ReadonlyMap<string, StoredBias>,
): Promise<TaskModule[]> {
  const found = new Map<string, TaskModule>();
  for (const graph of graphs) {
    const weighted = modules.flatMap(({ uses }) => uses.flatMap((use) => (use.graph === graph ? [use.target] : [])));
    for (const node of findBiasNodes(graph.graph, weighted)) {
      const module = await readBiasModule(node, graph, biases);
      // Another layer's own bias, in a place where it cannot be told.
      if (!module || modules.some(({ path }) => path === module.path)) continue;
      const key = JSON.stringify([module.path, module.outFeatures]);
      const known = found.get(key);
      found.set(key, known ? { ...known, uses: [...known.uses, ...module.uses] } : module);
    }
  }
  return [...found.values()];
}

/** Biases of the checkpoint that no node of the graphs adds by itself: those of folded normalizations, and those whose place is unknown. */
function modulesOutsideGraphs(
  known: readonly TaskModule[],
  biases: ReadonlyMap<string, StoredBias>,
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

/** null: nothing tells which module it is, or its numbers are not the module's own bias. */
async function readBiasModule(
  { target, biasPath, nodePath, isCertain }: BiasNode,
  graph: TaskGraph,
  biases: ReadonlyMap<string, StoredBias>,
): Promise<TaskModule | null> {
  const values = await floatsOf(target.weight);
  const matches = [...biases.values()].filter((bias) => isSameVector(values, bias.values, target.weight.value.type));
  const stated: readonly ModuleName[] = [
    ...(biasPath === null ? [] : [{ by: "bias" as const, path: withRole(biasPath, graph.role) }]),
    ...(nodePath === null ? [] : [{ by: "node" as const, path: withRole(nodePath, graph.role) }]),
  ];
  const match = onlyMatch(matches, stated);
  const names = namesFrom(match, stated, isCertain, biases);
  const path = names[0]?.path;
  if (path === undefined) return null;
  const storedBias = match?.stored ?? null;
  return { ...biasOnly(target.outFeatures), path, names, storedBias, foldedInto: null, uses: [{ graph, target }] };
}

function namesFrom(
  match: StoredBias | null,
  stated: readonly ModuleName[],
  isCertain: boolean,
  biases: ReadonlyMap<string, StoredBias>,
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
function onlyMatch(matches: readonly StoredBias[], stated: readonly ModuleName[]): StoredBias | null {
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
