/**
 * The modules of a task model whose bias alone adapters can change: normalizations and the like. A batch normalization that was folded into
 * a convolution is one too, where the checkpoint tells which one it was.
 */

import { type BiasNode, findBiasNodes } from "./bias-nodes.js";
import { type CheckpointContent, isSameVector, type StoredBias, type StoredNorm } from "./content.js";
import type { ModuleName } from "./names.js";
import { modulesAt, type TaskGraph, type TaskModule, withRole } from "./target-modules.js";
import { floatsOf } from "./weight-values.js";

/** `modules`: the others, with their final paths. `content`: the checkpoint; null if it is not there. */
export async function findBiasModules(
  graphs: readonly TaskGraph[],
  modules: readonly TaskModule[],
  content: CheckpointContent | null,
): Promise<TaskModule[]> {
  const biases = content ? await content.biases() : new Map<string, StoredBias>();
  const found = new Map<string, TaskModule>();
  for (const graph of graphs) {
    const weighted = modules.flatMap(({ uses }) => uses.flatMap((use) => (use.graph === graph ? [use.target] : [])));
    for (const node of findBiasNodes(graph.graph, weighted)) {
      const module = await placed(node, graph, biases);
      if (!module) continue;
      const key = JSON.stringify([module.path, module.outFeatures]);
      const known = found.get(key);
      found.set(key, known ? { ...known, uses: [...known.uses, ...module.uses] } : module);
    }
  }
  const own = [...found.values()];
  const others: TaskModule[] = [];
  const folded = content ? foldedNorms(await content.batchNorms(), await foldedConvolutions(modules, biases)) : [];
  const known = [...modules, ...own];
  for (const { path, values, stored } of biases.values()) {
    const into = folded.find(({ norm }) => norm.path === path)?.into ?? null;
    const isKnown = into === null && modulesAt(known, path).length > 0;
    if (isKnown) continue;
    const names: ModuleName[] = [{ by: "content", path }];
    others.push({ ...plain(values.length), path, names, storedBias: stored, foldedInto: into?.path ?? null, uses: [] });
  }
  return [...own, ...others];
}

const plain = (size: number) =>
  ({
    ...{ kind: "bias", inFeatures: size, outFeatures: size, kernel: [], groups: 1 },
    ...{ foldedNorm: { kind: "none" }, stored: null },
  }) as const satisfies Partial<TaskModule>;

/** null: nothing tells which module it is, or its numbers are not the module's own bias. */
async function placed(
  { target, stated, own, isCertain }: BiasNode,
  graph: TaskGraph,
  biases: ReadonlyMap<string, StoredBias>,
): Promise<TaskModule | null> {
  const values = await floatsOf(target.weight);
  const isSame = (bias: StoredBias): boolean => isSameVector(values, bias.values, target.weight.value.type);
  const told: readonly ModuleName[] = [
    ...(stated === null ? [] : [{ by: "bias" as const, path: withRole(stated, graph.role) }]),
    ...(own === null ? [] : [{ by: "node" as const, path: withRole(own, graph.role) }]),
  ];
  const matches = [...biases.values()].filter(isSame);
  const only = onlyMatch(matches, told);
  // A constant that differs from the bias of its name holds something else as well.
  const differs = told.some(({ path }) => [...biases.values()].some((bias) => endsAlike(path, bias.path)));
  const certain = isCertain ? told : told.filter(({ by }) => by === "bias");
  const names: readonly ModuleName[] = only
    ? [{ by: "content", path: only.path }, ...told.filter(({ path }) => endsAlike(path, only.path))]
    : differs
      ? []
      : certain;
  const path = names[0]?.path;
  if (path === undefined) return null;
  const size = target.outFeatures;
  return { ...plain(size), path, names, storedBias: only?.stored ?? null, foldedInto: null, uses: [{ graph, target }] };
}

/** Equal biases are told apart by the names that the file gives. */
function onlyMatch(matches: readonly StoredBias[], told: readonly ModuleName[]): StoredBias | null {
  const tests: readonly ((path: string) => boolean)[] = [
    ...told.map((name) => (path: string) => name.path === path),
    (path) => told.some((name) => endsAlike(name.path, path)),
    () => true,
  ];
  for (const fits of tests) {
    const [match, ...more] = matches.filter(({ path }) => fits(path));
    if (match) return more.length === 0 ? match : null;
  }
  return null;
}

/** Whether one path is the other, or its end after a dot. */
const endsAlike = (a: string, b: string): boolean => a === b || a.endsWith(`.${b}`) || b.endsWith(`.${a}`);

interface FoldedConvolution {
  readonly module: TaskModule;
  /** Of each output, as measured. */
  readonly factors: Float32Array;
  /** In the ONNX file. */
  readonly bias: Float32Array;
  /** Of the convolution itself in the checkpoint; null: it has none. */
  readonly own: Float32Array | null;
}

async function foldedConvolutions(
  modules: readonly TaskModule[],
  biases: ReadonlyMap<string, StoredBias>,
): Promise<FoldedConvolution[]> {
  const found: FoldedConvolution[] = [];
  for (const module of modules) {
    const { kind, uses, foldedNorm, outFeatures, names } = module;
    const target = uses[0]?.target;
    const mayBe = kind === "convolution" ? target?.mayBeFolded : kind === "linear" && foldedNorm.kind === "measured";
    if (!mayBe || !target?.bias || foldedNorm.kind === "unknown") continue;
    const factors = foldedNorm.kind === "measured" ? foldedNorm.factors : new Float32Array(outFeatures).fill(1);
    const content = names.find(({ by }) => by === "content");
    const own = (content && biases.get(content.path)?.values) ?? null;
    found.push({ module, factors, bias: await floatsOf(target.bias.values), own });
  }
  return found;
}

interface FoldedPair {
  readonly norm: StoredNorm;
  readonly into: TaskModule;
}

/** The pairs of which neither fits another, or whose names alone have the same parent. */
function foldedNorms(norms: readonly StoredNorm[], convolutions: readonly FoldedConvolution[]): FoldedPair[] {
  const pairs = norms.flatMap((norm) =>
    convolutions.flatMap((convolution): FoldedPair[] =>
      isFolded(norm, convolution) ? [{ norm, into: convolution.module }] : [],
    ),
  );
  const isOnly = (all: readonly FoldedPair[], { norm, into }: FoldedPair): boolean =>
    all.every((other) => (other.norm === norm) === (other.into === into));
  const near = pairs.filter(({ norm, into }) => parentOf(norm.path) === parentOf(into.path));
  return pairs.filter((pair) => isOnly(pairs, pair) || (near.includes(pair) && isOnly(near, pair)));
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf(".") + 1);

const epsilons = [1e-5, 1e-3, 1e-6, 1e-4, 1e-8, 1e-12, 0];
/** Relative: float32's rounding of a folded product. */
const folding = 1e-4;

/** Whether the file's factors are scale / sqrt(variance + epsilon), and its bias is the normalization's minus the scaled mean. */
function isFolded(
  { values, scale, mean, variance }: StoredNorm,
  { factors, bias, own }: Omit<FoldedConvolution, "module">,
): boolean {
  const size = values.length;
  if (factors.length !== size || bias.length !== size) return false;
  const isNear = (found: number, expected: number, size: number): boolean =>
    Math.abs(found - expected) <= folding * Math.max(size, Math.abs(expected));
  const fits = (epsilon: number): boolean =>
    factors.every((factor, i) => isNear(factor, at(scale, i) / Math.sqrt(at(variance, i) + epsilon), 1e-6));
  const isShifted = bias.every((found, i) => {
    const mean_ = at(mean, i) - (own ? at(own, i) : 0);
    return isNear(
      found,
      at(values, i) - at(factors, i) * mean_,
      Math.abs(at(values, i)) + Math.abs(at(mean, i)) + 1e-6,
    );
  });
  return isShifted && epsilons.some(fits);
}

const at = (values: Float32Array, i: number): number => values[i] as number;
