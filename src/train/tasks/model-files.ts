/** Writes a task model's folder with other weights: the ONNX file, and copies of everything that is not a weight. */

import { mkdir, open, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { orMissing } from "../../base/durable.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { serializeGraph } from "../../graph/serialize.js";
import { sameShape } from "../../graph/shape.js";
import type { Graph } from "../../graph/types.js";
import { readJson } from "../../model/checkpoint/files.js";
import { encoderDecoderOf, isEncoderDecoder } from "../../model/task/encoder-decoder.js";
import { initializerSource } from "../../model/task/joined-graph.js";
import { manifestName } from "../../model/task/manifest.js";
import type { TaskModel } from "../../model/task/open.js";
import { type NewWeight, withWeights } from "../../model/task/rewritten.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { hasSameContent, tiedTables } from "../../model/task/tied-tables.js";
import { type LayerChange, type UntiedGraph, untieWeights } from "../../model/task/untied.js";
import { withoutVectors } from "../../model/task/vector-graph.js";
import { SafetensorsFile } from "../../tensor/safetensors.js";
import { writeSafetensors } from "../../tensor/safetensors-write.js";
import { copyModelFiles } from "../files/model-files.js";
import { type Product, recordsOfRuns } from "../files/product.js";
import type { Parameter } from "../step.js";
import { SharedData } from "./shared-data.js";

/** What one protobuf message can hold. */
const maxBytes = 2 ** 31 - 1;

export interface ModelFiles {
  readonly model: TaskModel;
  readonly graphs: readonly WrittenGraph[];
  /** What the outputs are called. Default: as the base's config.json says. */
  readonly labels?: readonly string[] | null;
}

/** Writes into a folder that exists. Throws `model_unsupported` for weights that one file cannot hold. */
export async function writeTaskModel(folder: string, { model, graphs, labels }: ModelFiles): Promise<void> {
  // A bare file may lie among anything.
  if ((await readdir(model.folder)).includes("config.json"))
    await copyModelFiles(model.folder, folder, { dtype: "same", without: recordsOfRuns });
  if (labels) await writeLabels(join(folder, "config.json"), labels);
  const inner = dirname(graphs[0]?.label ?? "");
  await mkdir(join(folder, inner), { recursive: true });
  await using shared = graphs.length > 1 ? await SharedData.create(join(folder, inner)) : null;
  for (const { label, graph, modules, weights } of graphs) {
    const written = withWeights(graph, weights, modules);
    const whole = await inlined(model.addsVectors ? withoutVectors(written) : written);
    const small = shared ? await shared.move(whole) : whole;
    requireSize(small);
    await writeFile(join(folder, label), serializeGraph(small), { flush: true });
  }
}

/** A graph to be written, with its modules and its new weights. */
export interface WrittenGraph extends UntiedGraph {
  /** The file below the folder. */
  readonly label: string;
}

/** `weights`: by the names of initializers, as `joinGraphs` has them for an encoder-decoder. */
export function trainedGraphs(model: TaskModel, weights: ReadonlyMap<string, NewWeight>): WrittenGraph[] {
  const { modules } = model;
  if (!isEncoderDecoder(model)) return writtenFiles(model).map((file) => ({ ...file, modules, weights }));
  const { encoder, first } = encoderDecoderOf(model);
  const own = { encoder: new Map<string, NewWeight>(), decoder: new Map<string, NewWeight>() };
  for (const [name, values] of weights) {
    const source = initializerSource(name);
    own[source.part].set(source.name, values);
  }
  for (const [name, source] of tiedTables(encoder, first)) {
    const values = own.encoder.get(source);
    if (values) own.decoder.set(name, values);
  }
  return writtenFiles(model).map(({ label, graph }) => {
    if (graph === encoder) return { label, graph, modules, weights: own.encoder };
    const ofDecoder = graph === first ? own.decoder : sameWeights(first, graph, own.decoder, modules);
    return { label, graph, modules, weights: ofDecoder };
  });
}

/** `changes`: of the layers of each graph. */
export function changedGraphs(model: TaskModel, changes: ReadonlyMap<Graph, readonly LayerChange[]>): WrittenGraph[] {
  return writtenFiles(model).map(({ label, graph }) => ({
    label,
    ...untieWeights(graph, model.modules, changes.get(graph) ?? []),
  }));
}

/** The graphs that a model's folder gets, by file: of an encoder-decoder the encoder and both decoders, also where the base's is merged. */
function writtenFiles(model: TaskModel): { readonly label: string; readonly graph: Graph }[] {
  const [file] = model.opened;
  const graph = file?.graphs[0]?.graph;
  assert(file && graph, "a model has a file with a graph");
  const label = relative(model.folder, file.path);
  if (!isEncoderDecoder(model)) return [{ label, graph }];
  const { encoder, first } = encoderDecoderOf(model);
  const all = model.opened.flatMap(({ graphs }) => graphs.map((each) => each.graph));
  const next = all.find(({ inputs }) => inputs.some(({ name }) => name.startsWith("past_key_values")));
  assert(next, "an encoder-decoder has a graph with keys and values");
  const inner = dirname(label);
  return [
    { label: join(inner, "encoder_model.onnx"), graph: encoder },
    { label: join(inner, "decoder_model.onnx"), graph: first },
    { label: join(inner, "decoder_with_past_model.onnx"), graph: next },
  ];
}

/** The weights of `next` by what they are in `first`: of the same module, of the same name, or with the same content. */
function sameWeights(
  first: Graph,
  next: Graph,
  weights: ReadonlyMap<string, NewWeight>,
  modules: readonly TaskModule[],
): Map<string, NewWeight> {
  const found = new Map<string, NewWeight>();
  for (const { uses } of modules) {
    const before = uses.find(({ graph }) => graph.graph === first)?.target;
    for (const { target } of uses.filter(({ graph }) => graph.graph === next)) {
      const pairs = [
        [before?.weight, target.weight],
        [before?.bias?.values, target.bias?.values],
      ];
      for (const [from, to] of pairs) {
        const values = from && weights.get(from.value.name);
        if (to && values) found.set(to.value.name, values);
      }
    }
  }
  const known = new Map(first.initializers.map((each) => [each.value.name, each]));
  for (const initializer of next.initializers) {
    const { name, shape } = initializer.value;
    if (found.has(name)) continue;
    const same = known.get(name);
    const isSame = same !== undefined && sameShape(same.value.shape, shape);
    const from = isSame ? same : first.initializers.find((each) => hasSameContent(each, initializer));
    const values = from && weights.get(from.value.name);
    if (values) found.set(name, values);
  }
  return found;
}

function requireSize({ initializers }: Graph): void {
  const bytes = initializers.reduce((sum, { data }) => sum + (data.kind === "inline" ? data.bytes.byteLength : 0), 0);
  if (bytes <= maxBytes) return;
  const message = `The weights have ${bytes} bytes; an ONNX file with at most ${maxBytes} is written.`;
  throw new LorikeetError("model_unsupported", message, { found: bytes, allowed: maxBytes });
}

async function writeLabels(path: string, labels: readonly string[]): Promise<void> {
  const config: unknown = JSON.parse((await orMissing(readFile(path, "utf8"))) ?? "{}");
  const known = typeof config === "object" && config !== null ? config : {};
  const named = {
    id2label: Object.fromEntries(labels.map((label, index) => [String(index), label])),
    label2id: Object.fromEntries(labels.map((label, index) => [label, index])),
  };
  await writeFile(path, `${JSON.stringify({ ...known, ...named }, null, 2)}\n`, { flush: true });
}

/** The graph with its external data read. */
async function inlined(graph: Graph): Promise<Graph> {
  const initializers = await Promise.all(
    graph.initializers.map(async ({ value, data }) => {
      if (data.kind === "inline") return { value, data };
      const bytes = new Uint8Array(data.byteLength);
      await using file = await open(data.file);
      for (let done = 0; done < bytes.length; ) {
        const { bytesRead } = await file.read(bytes, done, bytes.length - done, data.offset + done);
        if (bytesRead === 0)
          throw new LorikeetError("model_invalid", "External data became shorter while it was read.");
        done += bytesRead;
      }
      return { value, data: { kind: "inline" as const, bytes } };
    }),
  );
  return { ...graph, initializers };
}

/** What the base's lorikeet.json says of its folder, and is still true of weights that have their modules' names. */
export async function keptManifest({ folder }: TaskModel): Promise<Json> {
  const json = (await readdir(folder)).includes(manifestName) ? await readJson(folder, manifestName) : {};
  const own = isObject(json) && isObject(json.settings) ? json.model : json;
  const { weights: _, rename: __, files: ___, ...kept } = isObject(own) ? own : {};
  return kept;
}

const weightsFile = "weights.safetensors";

/** Checkpoints hold the trained tensors alone; the result is a model's folder. */
export function taskModelProduct(model: TaskModel, parameters: readonly Parameter[]): Product {
  return {
    rounds: false,
    async save(folder) {
      const tensors = parameters.map(({ name, shape, data }) => ({ name, dtype: "F32" as const, shape, data }));
      await writeSafetensors(join(folder, weightsFile), tensors, {}, { fsync: true });
    },
    async load(folder) {
      await using file = await SafetensorsFile.open(join(folder, weightsFile));
      for (const { name, data } of parameters) data.set(await file.readFloat32(name));
    },
    write: (folder) =>
      writeTaskModel(folder, {
        model,
        graphs: trainedGraphs(model, new Map(parameters.map(({ name, shape, data }) => [name, { shape, data }]))),
      }),
  };
}
