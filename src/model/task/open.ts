/** Opens a task model: its files read and raised, their branches chosen, its target modules named. Loads nothing into ONNX Runtime. */

import { LorikeetError } from "../../base/errors.js";
import { chooseBranch, flagsOf } from "../../graph/branches.js";
import { openOnnx } from "../../graph/open.js";
import type { Graph } from "../../graph/types.js";
import { findBiasModules } from "./bias-modules.js";
import { CheckpointContent } from "./content.js";
import { openTaskFolder, type TaskFile, type TaskFolder } from "./folder.js";
import { restoreBiases } from "./lost-biases.js";
import { type Manifest, manifestName } from "./manifest.js";
import { renameGraph } from "./renamed-graph.js";
import { findTaskModules, type TaskGraph, type TaskModule } from "./target-modules.js";

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
}

/** Opens an .onnx file or a folder with such files. Throws LorikeetError `model_invalid` or `model_unsupported`. */
export async function openTaskModel(path: string): Promise<TaskModel> {
  const folder = await openTaskFolder(path);
  const opened: OpenedFile[] = [];
  const { manifest } = folder;
  await using content = folder.weights.length === 0 ? null : await CheckpointContent.open(folder.weights);
  for (const file of folder.files) opened.push(await openFile(file, folder, content));
  const graphs = opened.flatMap((file) => file.graphs);
  const modules = await findTaskModules(graphs, content, manifest);
  return { ...folder, opened, modules: [...modules, ...(await findBiasModules(graphs, modules, content))] };
}

function renamed(graph: Graph, label: string, files: number, { inputs, outputs }: Manifest): Graph {
  if (!inputs && !outputs) return graph;
  if (files === 1) return renameGraph(graph, inputs ?? new Map(), outputs ?? new Map(), label);
  const message = `${manifestName} names inputs or outputs, and the model has ${files} files; it may where there is one.`;
  throw new LorikeetError("model_invalid", message, { param: manifestName, found: files, allowed: 1 });
}

/** Each doubles the number of graphs. */
const maxFlags = 2;

async function openFile(
  file: TaskFile,
  { files, manifest }: TaskFolder,
  content: CheckpointContent | null,
): Promise<OpenedFile> {
  const { role, label } = file;
  const { graph: written, opset, producer } = await openOnnx(file.path, label);
  const graph = renamed(written, label, files.length, manifest);
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
  return { ...file, opset, producer, graphs };
}
