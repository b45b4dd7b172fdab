/** Opens a task model: its files read and raised, their branches chosen, its target modules named. Loads nothing into ONNX Runtime. */

import { readdir } from "node:fs/promises";
import { LorikeetError } from "../../base/errors.js";
import { chooseBranch, flagsOf } from "../../graph/branches.js";
import { openOnnx } from "../../graph/open.js";
import type { Graph, Node } from "../../graph/types.js";
import { findBiasModules } from "./bias-modules.js";
import { CheckpointContent } from "./content.js";
import { openTaskFolder, type TaskFile, type TaskFolder } from "./folder.js";
import { restoreBiases } from "./lost-biases.js";
import { type Manifest, manifestName } from "./manifest.js";
import { withOwnConstants } from "./own-constants.js";
import { renameGraph } from "./renamed-graph.js";
import { modulesName, type PoolingMode, plainPooling } from "./sentence-modules.js";
import { findTaskModules, type TaskGraph, type TaskModule } from "./target-modules.js";
import type { Task } from "./tasks.js";
import { poolsTexts, readVectors } from "./text-head.js";
import { readVectorPlan, withVectors } from "./vector-graph.js";

export interface OpenedFile extends TaskFile {
  /** As written. */
  readonly opset: number;
  readonly producer: string;
  /** One, or one for each value of the flag that chooses a branch. */
  readonly graphs: readonly TaskGraph[];
}

export interface TaskModel extends TaskFolder {
  readonly opened: readonly OpenedFile[];
  readonly modules: readonly TaskModule[];
  /** Whether the graph has an output `sentence_embedding` that the file lacks, and that modules.json describes. */
  readonly addsVectors: boolean;
}

export interface OpenOptions {
  /** Vectors of texts are pooled so, whatever the files say; null: as they say. */
  readonly pooling?: PoolingMode | null;
  /** Whether modules that share a constant of one number get their own, to train them all. */
  readonly ownConstants?: boolean;
}

/** Opens an .onnx file or a folder with such files. Throws LorikeetError `model_invalid` or `model_unsupported`. */
export async function openTaskModel(
  path: string,
  { pooling = null, ownConstants = false }: OpenOptions = {},
): Promise<TaskModel> {
  const folder = await openTaskFolder(path);
  const files: OpenedFile[] = [];
  const { manifest } = folder;
  await using content = folder.weights.length === 0 ? null : await CheckpointContent.open(folder.weights);
  for (const file of folder.files) files.push(await openFile(file, folder, content, ownConstants));
  const { opened, added } = await extended(files, folder, pooling ?? manifest.pooling ?? null);
  const graphs = opened.flatMap((file) => file.graphs);
  const found = await findTaskModules(graphs, content, manifest);
  const all = [...found, ...(await findBiasModules(graphs, found, content))];
  // Adapters are the transformer's, as sentence-transformers adds them.
  const modules = all.filter(({ uses }) => uses.every(({ target }) => !added.has(target.node)));
  return { ...folder, opened, modules, addsVectors: added.size > 0 };
}

interface Extended {
  readonly opened: readonly OpenedFile[];
  /** Nodes that no file has. */
  readonly added: ReadonlySet<Node>;
}

/**
 * The only file's graph with what modules.json computes after it, unless that is one way of pooling, which needs no graph. Throws
 * `model_unsupported` for modules that are not computed.
 */
async function extended(
  files: readonly OpenedFile[],
  folder: TaskFolder,
  asked: PoolingMode | null,
): Promise<Extended> {
  const none = { opened: files, added: new Set<Node>() };
  const [file, other] = files;
  const [only, more] = file?.graphs ?? [];
  if (!file || !only || other || more || folder.task !== "feature-extraction" || !poolsTexts(only.graph)) return none;
  const modules = await readVectors(folder.folder, await readdir(folder.folder), asked);
  if (modules === null) return none;
  if ("refusal" in modules) {
    const message = `The model ${modules.refusal}. With {"task": "tensors"} in ${manifestName} it is served without vectors of texts.`;
    throw new LorikeetError("model_unsupported", message, { param: modulesName });
  }
  const { pooling, layers } = modules;
  if (layers.length === 0 && (pooling.length === 0 || plainPooling(pooling) !== null)) return none;
  const plan = await readVectorPlan(folder.folder, modules);
  const { graph, added } = withVectors(only.graph, plan, modules.size);
  return { opened: [{ ...file, graphs: [{ ...only, graph }] }], added };
}

function renamed(graph: Graph, label: string, files: number, task: Task, { inputs, outputs }: Manifest): Graph {
  if (!inputs && !outputs) return task === "image-classification" ? withUsualNames(graph, label) : graph;
  if (files === 1) return renameGraph(graph, inputs ?? new Map(), outputs ?? new Map(), label);
  const message = `${manifestName} names inputs or outputs, and the model has ${files} files; it may where there is one.`;
  throw new LorikeetError("model_invalid", message, { param: manifestName, found: files, allowed: 1 });
}

/** What the input and the output of a classifier of pictures are called. */
const [pixels, logits] = ["pixel_values", "logits"] as const;

/** A classifier of pictures in a file that names its only input and output otherwise, as files of timm's models do. */
function withUsualNames(graph: Graph, label: string): Graph {
  const [[input, ...otherInputs], [output, ...otherOutputs]] = [graph.inputs, graph.outputs];
  if (!input || !output || otherInputs.length + otherOutputs.length > 0) return graph;
  const isPicture = input.type === "float32" && (input.unknown !== undefined || input.shape.length === 4);
  const isLogits = output.unknown !== undefined || output.shape.length === 2;
  const values = [...graph.nodes.flatMap((node) => node.outputs), ...graph.initializers.map((each) => each.value)];
  const isTaken = values.some(({ name }) => name !== output.name && (name === pixels || name === logits));
  if (!isPicture || !isLogits || isTaken) return graph;
  return renameGraph(graph, new Map([[pixels, input.name]]), new Map([[logits, output.name]]), label);
}

/** Each doubles the number of graphs. */
const maxFlags = 2;

async function openFile(
  file: TaskFile,
  { files, task, manifest }: TaskFolder,
  content: CheckpointContent | null,
  ownConstants: boolean,
): Promise<OpenedFile> {
  const { role, label } = file;
  const { graph: written, opset, producer } = await openOnnx(file.path, label);
  const graph = renamed(written, label, files.length, task, manifest);
  let graphs: TaskGraph[] = [{ role, label, graph }];
  const flags = flagsOf(graph);
  if (flags.length > maxFlags) {
    const message = `The ONNX file ${label} chooses branches by ${flags.length} inputs (${flags.slice(0, 3).join(", ")}, ...); at most ${maxFlags} are allowed.`;
    throw new LorikeetError("model_unsupported", message, { param: label, found: flags.length, allowed: maxFlags });
  }
  for (const flag of flags) {
    graphs = graphs.flatMap((whole) =>
      [false, true].map((value) => ({
        role,
        label: `${whole.label} with ${flag} ${value}`,
        graph: chooseBranch(whole.graph, flag, value),
      })),
    );
  }
  if (content) {
    const restored = graphs.map(async (each) => ({ ...each, graph: await restoreBiases(each.graph, content) }));
    graphs = await Promise.all(restored);
  }
  if (ownConstants) {
    const own = graphs.map(async (each) => ({ ...each, graph: await withOwnConstants(each.graph) }));
    graphs = await Promise.all(own);
  }
  return { ...file, opset, producer, graphs };
}
