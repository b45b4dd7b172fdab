/** Task models on the command line: `inspect` describes one, and other commands refuse it. */

import { missingRules } from "../autodiff/missing-rules.js";
import { LorikeetError } from "../base/errors.js";
import { onnxOpset } from "../graph/serialize.js";
import { describeValue, type Value } from "../graph/types.js";
import { isEncoderDecoder } from "../model/task/encoder-decoder.js";
import { isTaskModel } from "../model/task/folder.js";
import { type GenerationRules, readGenerationRules } from "../model/task/generation-rules.js";
import { type OpenedFile, openTaskModel, type TaskModel } from "../model/task/open.js";
import type { FoldedNorm, TaskModule } from "../model/task/target-modules.js";
import { takesProduct } from "../model/task/weighted-nodes.js";
import { chooseForTask, type DeviceFacts, describeDevice, formatDevice } from "./device.js";
import { locate, onnxFileIn } from "./hub/model-folder.js";
import { ownAdapterNames } from "./serve/own-adapters.js";
import { formatFields, formatTable } from "./table.js";
import { describeInputs, inputFields } from "./task-inputs.js";
import { describeVectors, vectorFields } from "./task-vectors.js";
import { printJson, printLine, type Terminal } from "./terminal.js";
import { UsageError } from "./usage.js";

/** What else a command line says of a model. */
export interface ModelChoice {
  /** The option that names the model; `--model` by default. */
  readonly option?: string;
  /** Of `--onnx-file`: the one ONNX file that is wanted of a model with several. */
  readonly onnxFile?: string | null;
  readonly signal?: AbortSignal;
}

/**
 * The folder or .onnx file of `--model`, downloaded if it names a model of the hub. With `--onnx-file` it is that file. Throws what `locate`
 * throws, and `model_invalid` for an unknown one.
 */
export async function locateModel(
  model: string,
  terminal: Terminal,
  { option = "--model", onnxFile = null, signal }: ModelChoice = {},
): Promise<string> {
  const named = { option, kind: "model", onnxFile, ...(signal && { signal }) } as const;
  if (onnxFile === null) {
    return model.endsWith(".onnx") && (await isTaskModel(model)) ? model : await locate(model, named, terminal);
  }
  if (model.endsWith(".onnx")) {
    throw new UsageError([`--onnx-file chooses a file of a folder or a repository; ${option} ${model} is a file.`]);
  }
  return await onnxFileIn(await locate(model, named, terminal), onnxFile, model);
}

/** The folder of `--model`, downloaded if it names a model of the hub. Throws `model_unsupported` for a task model, and what `locate` throws. */
export async function locateDecoder(model: string, terminal: Terminal, signal?: AbortSignal): Promise<string> {
  if (model.endsWith(".onnx")) await refuseTaskModel(model);
  const folder = await locate(model, { option: "--model", kind: "model", ...(signal && { signal }) }, terminal);
  await refuseTaskModel(folder);
  return folder;
}

async function refuseTaskModel(path: string): Promise<void> {
  if (!(await isTaskModel(path))) return;
  const message = `${path} is a task model, and this command runs decoders: lorikeet serve ${path} serves it.`;
  throw new LorikeetError("model_unsupported", message, { param: path });
}

/** Describes an .onnx file or a folder with such files. */
export async function inspectTaskModel(path: string, json: boolean, terminal: Terminal): Promise<void> {
  const model = await openTaskModel(path);
  const inputs = await describeInputs(model.folder);
  const vectors = await describeVectors(model);
  const generation = isEncoderDecoder(model) ? await generationOf(model) : null;
  const ownAdapters = await ownAdapterNames(path);
  const device = describeDevice(await chooseForTask(model, { device: "auto", allowSoftwareGpu: false }));
  if (json)
    return printJson(terminal.stdout, {
      ...jsonOf(model),
      ...inputs,
      ...(vectors && { vectors }),
      ...(generation && generationJson(generation)),
      device,
      ownAdapters,
    });
  printLine(
    terminal.stdout,
    formatFields([
      ...fieldsOf(model, [...inputFields(inputs), ...vectorFields(vectors)], generation),
      ...ownAdapterFields(ownAdapters),
      deviceField(device),
    ]),
  );
  const shown = model.modules.filter(isShown);
  if (shown.length === 0) return;
  const header = ["target module", "kind", "shape", "named by", "folded norm"];
  const rows = shown.map((module) => [
    module.path,
    module.kind,
    shapeOf(module),
    sourcesOf(module).join(", "),
    module.foldedInto === null ? normOf(module.foldedNorm) : `folded into ${module.foldedInto}`,
  ]);
  printLine(terminal.stdout, `\n${formatTable(header, rows)}`);
}

const isTarget = ({ kind }: TaskModule): boolean => takesProduct(kind);
/** Biases of which the graphs do not show where they are added say nothing about the files. */
const isShown = ({ uses, foldedInto }: TaskModule): boolean => uses.length > 0 || foldedInto !== null;

const deviceField = (device: DeviceFacts): readonly [string, string] => [
  "device",
  `${formatDevice(device)}; ${device.why}${device.kind === "cpu" ? "" : ", if the model passes its trial there"}`,
];

/** `texts`: about inputs and vectors. */
function fieldsOf(
  model: TaskModel,
  texts: readonly (readonly [string, string])[],
  generation: Generation | null,
): (readonly [string, string])[] {
  const { folder, task, architecture, opened, otherFiles, weights, modules } = model;
  const biases = modules.filter((module) => !isTarget(module) && isShown(module));
  const unknown = modules.filter(({ foldedNorm }) => foldedNorm.kind === "unknown").length;
  return [
    ["model", folder],
    ["task", task === "tensors" ? "tensors in, tensors out (config.json names no known task)" : task],
    ["class", architecture ?? "not stated"],
    ...opened.flatMap(fileFieldsOf),
    ...texts,
    ...(generation ? generationFields(generation) : []),
    ["other files", otherFiles.join(", ") || "none"],
    ["checkpoint", weights.map(({ label }) => label).join(", ") || "none: module names come from the ONNX files alone"],
    ["target modules", countsOf(modules.filter(isTarget))],
    ...(biases.length === 0
      ? []
      : [["other modules", `${countsOf(biases)} (modules_to_save, bias="all")`] as [string, string]]),
    ...(unknown === 0 ? [] : [["warning", warningOf(unknown)] as [string, string]]),
    ["adapters", "LoRA, rsLoRA, DoRA and heads; lorikeet inspect ADAPTER --model checks one"],
    ["training", trainingOf(model)],
  ];
}

/** How it generates, or why that is not known. */
type Generation = GenerationRules | { readonly refusal: string };

async function generationOf({ folder }: TaskModel): Promise<Generation> {
  try {
    return await readGenerationRules(folder);
  } catch (error) {
    if (error instanceof LorikeetError) return { refusal: error.message };
    throw error;
  }
}

function generationFields(generation: Generation): (readonly [string, string])[] {
  const prefixes = "refusal" in generation ? [] : prefixesOf(generation);
  return [
    ["generation", shownGeneration(generation)],
    ...(prefixes.length === 0 ? [] : [["prefixes", prefixes.join(", ")] as const]),
  ];
}

/** What is put in front of a source, by itself and for each task. */
function prefixesOf({ prefix, tasks }: GenerationRules): string[] {
  const ofTasks = [...tasks].flatMap(([task, { prefix: own }]) =>
    own === null ? [] : [`${JSON.stringify(own)} for ${task}`],
  );
  return prefix === "" ? ofTasks : [JSON.stringify(prefix), ...ofTasks];
}

const generationJson = (generation: Generation) => ({
  generation: "refusal" in generation ? generation : { ...generation, tasks: Object.fromEntries(generation.tasks) },
});

/** For `inspect` of a decoder, too. */
export const ownAdapterFields = (names: readonly string[]): [string, string][] =>
  names.length === 0 ? [] : [["own adapters", names.join(", ")]];

function shownGeneration(generation: Generation): string {
  if ("refusal" in generation) return `not possible: ${generation.refusal}`;
  const { startId, endIds, firstId, maxTokens, maxTarget, ignored } = generation;
  const most = maxTarget ?? maxTokens;
  return [
    `starts with token ${startId}`,
    ...(firstId === null ? [] : [`then ${firstId}`]),
    endIds.length === 0 ? "ends by length alone" : `ends with ${endIds.join(" or ")}`,
    ...(most === null ? [] : [`at most ${most} tokens`]),
    ...(ignored.length === 0 ? [] : [`not applied: ${ignored.join(", ")}`]),
  ].join(", ");
}

function fileFieldsOf({ label, role, opset, producer, graphs }: OpenedFile): [string, string][] {
  const read = opset === onnxOpset ? "" : `, read as ${onnxOpset}`;
  return [
    ["file", `${label} (${role}), opset ${opset}${read}, by ${producer || "an unnamed exporter"}`],
    ...graphs.flatMap(({ label: name, graph }): [string, string][] => [
      ...(graphs.length === 1 ? [] : [["graph", name] as [string, string]]),
      ["inputs", graph.inputs.map(shownValue).join(", ")],
      ["outputs", graph.outputs.map(shownValue).join(", ")],
    ]),
  ];
}

function trainingOf(model: TaskModel): string {
  const types = [...new Set(weightTypes(model))];
  if (types.length === 0) return "not of this file: no layer has float32 weights";
  if (!types.includes("float32")) return `not of this file: its weights are of type ${types.join(", ")}, not float32`;
  const missing = operatorsWithoutGradient(model);
  return missing.length === 0 ? "every operator has a gradient rule" : `no gradient rule for ${missing.join(", ")}`;
}

/** Of the target modules. */
const weightTypes = ({ modules }: TaskModel): string[] =>
  modules.filter(isTarget).flatMap(({ uses }) => uses.map(({ target }) => target.weight.value.type));

/** Operators between target modules and outputs that have no gradient rule. */
function operatorsWithoutGradient({ opened, modules }: TaskModel): string[] {
  const found = opened.flatMap(({ graphs }) =>
    graphs.flatMap((graph) => {
      const uses = modules.filter(isTarget).flatMap((module) => module.uses.filter((use) => use.graph === graph));
      return missingRules(graph.graph, new Set(uses.map(({ target }) => target.node.name)));
    }),
  );
  return [...new Set(found)].sort();
}

const shownValue = (value: Value): string =>
  value.unknown === "shape" ? `${value.name}: ${value.type} of any shape` : describeValue(value);

const words = {
  linear: ["linear layer", "linear layers"],
  convolution: ["convolution", "convolutions"],
  table: ["table", "tables"],
  norm: ["normalization", "normalizations"],
  bias: ["bias", "biases"],
} as const;

function countsOf(modules: readonly TaskModule[]): string {
  const kinds = [...new Set(modules.map(({ kind }) => kind))];
  const counts = kinds.map((kind) => {
    const count = modules.filter((module) => module.kind === kind).length;
    const [one, many] = words[kind];
    return `${count} ${count === 1 ? one : many}`;
  });
  return modules.length === 0 ? "none" : `${modules.length}: ${counts.join(", ")}`;
}

function warningOf(count: number): string {
  const what = count === 1 ? "1 convolution" : `${count} convolutions`;
  return `${what} may hold a batch normalization whose factor is unknown; put the model.safetensors of the export next to config.json`;
}

function shapeOf({ inFeatures, outFeatures, kernel, groups }: TaskModule): string {
  const window = kernel.length === 0 ? "" : `, kernel ${kernel.join("x")}`;
  return `${inFeatures} to ${outFeatures}${window}${groups === 1 ? "" : `, ${groups} groups`}`;
}

const sourcesOf = ({ names }: TaskModule): string[] =>
  names.length === 0 ? ["node name only"] : [...new Set(names.map(({ by }) => by))];

function normOf(norm: FoldedNorm): string {
  if (norm.kind !== "measured") return norm.kind;
  const [min, max] = [Math.min(...norm.factors), Math.max(...norm.factors)].map((factor) =>
    Number(factor.toPrecision(4)),
  );
  return `measured, ${min} to ${max}`;
}

function jsonOf(model: TaskModel) {
  const { folder, task, architecture, opened, otherFiles, weights, modules } = model;
  const described = ({ name, type, shape, unknown }: Value) => ({
    name,
    type,
    shape: unknown === "shape" ? null : shape,
  });
  return {
    folder,
    task,
    architecture,
    files: opened.map(({ label, role, opset, producer, graphs }) => ({
      ...{ label, role, opset: { written: opset, read: onnxOpset }, producer },
      graphs: graphs.map(({ label: name, graph }) => ({
        label: name,
        inputs: graph.inputs.map(described),
        outputs: graph.outputs.map(described),
      })),
    })),
    otherFiles,
    checkpoint: weights.map(({ label }) => label),
    operatorsWithoutGradient: operatorsWithoutGradient(model),
    otherBiases: modules
      .filter((module) => !isTarget(module) && isShown(module))
      .map(({ path, outFeatures, names, foldedInto }) => ({ path, outFeatures, names, foldedInto })),
    targetModules: modules
      .filter(isTarget)
      .map(({ path, kind, names, inFeatures, outFeatures, kernel, groups, foldedNorm, uses }) => ({
        ...{ path, kind, inFeatures, outFeatures, kernel, groups, names },
        foldedNorm:
          foldedNorm.kind === "measured"
            ? { kind: "measured", factors: [...foldedNorm.factors] }
            : { kind: foldedNorm.kind },
        graphs: [...new Set(uses.map(({ graph }) => graph.label))],
      })),
  };
}
