/** `lorikeet inspect`: describes a model or adapter folder, as a table or JSON. Loads no weights, except those under a DoRA adapter. */

import { access, readdir } from "node:fs/promises";
import type { Command } from "commander";
import { type AdapterDescription, configFile, describeAdapter, methodOf, weightFiles } from "../adapter/format.js";
import { nameFault } from "../adapter/names.js";
import { type CheckpointDescription, describeCheckpoint } from "../model/checkpoint/describe.js";
import { hintAtModel } from "../model/checkpoint/files.js";
import { openCheckpoint } from "../model/checkpoint/open.js";
import { isTaskModel, modelFolder } from "../model/task/folder.js";
import type { DecoderConfig } from "../model/types.js";
import { openNamedAdapter } from "./adapters/source.js";
import { type CheckBase, openCheckBase } from "./check-base.js";
import { chooseFor, describeDevice, formatDevice } from "./device.js";
import { chooseHalves, floatDtypes } from "./halves.js";
import { locate } from "./hub/model-folder.js";
import { onnxFile } from "./options/onnx-file.js";
import { formatBytes, formatCount } from "./options/units.js";
import { inspectPicture, isPicture } from "./picture.js";
import { choosePrecision } from "./precision.js";
import { renderSampleChat, type SampleChat } from "./sample-chat.js";
import { checkGains } from "./serve/gain-check.js";
import { ownAdapterNames } from "./serve/own-adapters.js";
import { formatFields, formatTable } from "./table.js";
import { inspectText } from "./task-inputs.js";
import { inspectTaskModel, locateModel, ownAdapterFields } from "./task-model.js";
import { printJson, printLine, type Terminal } from "./terminal.js";
import { UsageError } from "./usage.js";

export function addInspect(program: Command, terminal: Terminal): void {
  program
    .command("inspect")
    .description("describe a model or adapter without loading it, or what a task model sees of a picture")
    .argument(
      "<model>",
      "a folder with a model (config.json) or an adapter (adapter_config.json), an .onnx file, a picture, or a name (org/name)",
    )
    .option(
      "--model <model>",
      "base model to check an adapter against (default: none; only the adapter's own sizes are checked), or the task model that sees a picture",
    )
    .option("--onnx-file <name>", `${onnxFile.help} (default: ${onnxFile.shown})`)
    .option("--chat-template <file>", "chat template to try with a model (default: the model's own)")
    .option("--text <text>", "show the tokens that a task model gets for a text (default: none)")
    .option("--pair <text>", "the second text of a pair with --text (default: none)")
    .option("--json", "print JSON", false)
    .action(async (name: string, { model, onnxFile: asked, text, pair, ...others }: InspectOptions) => {
      const chosen = asked ?? null;
      if (pair !== undefined && text === undefined)
        throw new UsageError(["--pair needs --text, the first text of the pair."]);
      if (text !== undefined && isPicture(name)) {
        throw new UsageError([`--text shows the tokens of a task model; ${name} is a picture.`]);
      }
      if (chosen !== null && isPicture(name)) {
        throw new UsageError(["--onnx-file does not apply to a picture: all files of a model see the same of it."]);
      }
      if (isPicture(name)) return inspectPicture(name, model, others.json, terminal);
      if (name.endsWith(".onnx") || (chosen !== null && model === undefined)) {
        const choice = { option: "<model>", onnxFile: chosen };
        const path = chosen === null ? name : await locateModel(name, terminal, choice);
        if (text === undefined) return inspectTaskModel(path, others.json, terminal);
        return inspectText(await modelFolder(path), { text, pair }, others.json, terminal);
      }
      if (model !== undefined && !(await isPath(name)) && nameFault(name) === null) {
        return inspectNamed(name, await openCheckBase(model, terminal, chosen), others.json, terminal);
      }
      const folder = await locate(name, { option: "<model>", kind: null }, terminal);
      if (text !== undefined) return inspectText(folder, { text, pair }, others.json, terminal);
      if (await isTaskModel(folder)) return inspectTaskModel(folder, others.json, terminal);
      const names = await readdir(folder);
      if (isAdapterFolder(names)) {
        const base = model === undefined ? null : await openCheckBase(model, terminal, chosen);
        return inspectAdapter(folder, base, others.json, terminal);
      }
      if (names.includes("config.json")) return inspectModel(folder, others, terminal);
      const hint = hintAtModel(names) ?? "";
      throw new UsageError([
        `${folder} is neither a model folder (config.json) nor an adapter folder (${configFile})${hint}.`,
      ]);
    });
}

interface InspectOptions {
  readonly json: boolean;
  readonly model?: string;
  readonly onnxFile?: string;
  readonly chatTemplate?: string;
  readonly text?: string;
  readonly pair?: string;
}

const isPath = (name: string): Promise<boolean> =>
  access(name).then(
    () => true,
    () => false,
  );

/** An adapter by its name in the adapters folder, or among the model's own. */
async function inspectNamed(name: string, base: CheckBase, json: boolean, terminal: Terminal): Promise<void> {
  const place = { option: "<model>", adapters: null, model: base.path };
  await using source = await openNamedAdapter(name, place, terminal);
  await inspectAdapter(source.folder, base, json, terminal);
}

/** An adapter may have a config.json with the labels of its head; a model has weights of its own. */
function isAdapterFolder(names: readonly string[]): boolean {
  if (!names.includes(configFile)) return false;
  return !names.includes("config.json") || weightFiles.some((file) => names.includes(file));
}

async function inspectAdapter(
  folder: string,
  base: CheckBase | null,
  json: boolean,
  terminal: Terminal,
): Promise<void> {
  const options = base === null ? {} : { baseNames: base.names };
  const checked = await describeAdapter(folder, base?.modules ?? null, options);
  const more = base?.checkpoint ? await checkGains(base.checkpoint, folder, checked.summary) : [];
  const { summary } = checked;
  const description = { ...checked, summary: { ...summary, warnings: [...summary.warnings, ...more] } };
  if (json) return printJson(terminal.stdout, { folder, ...description });
  printLine(terminal.stdout, formatFields(adapterFields(folder, description)));
  if (description.kinds.length === 0) return;
  const rows = description.kinds.map(({ path, kind, count, rank, alpha, scale, inFeatures, outFeatures, dtype }) => [
    path,
    kind,
    ...[count, rank, Number(alpha.toFixed(4)), Number(scale.toFixed(4)), inFeatures, outFeatures].map(String),
    dtype,
  ]);
  const header = ["module", "kind", "layers", "rank", "alpha", "scale", "in", "out", "dtype"];
  printLine(terminal.stdout, `\n${formatTable(header, rows)}`);
}

function adapterFields(
  folder: string,
  { summary, config, saved, tokens, labels }: AdapterDescription,
): [string, string][] {
  const [min, max] = [summary.scales.min, summary.scales.max].map((scale) => Number(scale.toFixed(4)));
  return [
    ["adapter", folder],
    ["type", methodOf(config).describe(config)],
    ["rank", `up to ${summary.rank}`],
    ["target modules", `${summary.modules} target modules`],
    ...saved.map(({ path, outFeatures, parts }): [string, string] => [
      parts.includes("weight") ? "saved whole" : "trained bias",
      `${path}, ${outFeatures} outputs`,
    ]),
    ...tokens.map(({ path, tokens: count, isTied }): [string, string] => [
      "trained rows",
      `${path}, of ${count} tokens${isTied ? ", and the head that is tied to it" : ""}`,
    ]),
    ...(labels ? [["labels", labels.join(", ")] as [string, string]] : []),
    ["scales", min === max ? String(min) : `${min} to ${max}`],
    ["size", `${formatBytes(summary.bytes)}, ${formatBytes(summary.activeBytes)} in use`],
    ["digest", summary.digest],
    ["weights digest", summary.weightsDigest],
    ...summary.warnings.map((warning): [string, string] => ["warning", warning]),
    ["ignored", summary.ignored.join(", ") || "nothing"],
  ];
}

async function inspectModel(folder: string, { json, chatTemplate }: InspectOptions, terminal: Terminal): Promise<void> {
  const description = describeCheckpoint(await openCheckpoint(folder));
  const [sampleChat, choice] = await Promise.all([
    renderSampleChat(description.directory, chatTemplate),
    chooseFor({ device: "auto", allowSoftwareGpu: false }),
  ]);
  const { dtype } = choosePrecision(description.parameters, { dtype: "auto", headDtype: "auto" });
  const halves = chooseHalves({ kvCacheDtype: "auto", activationDtype: "auto" }, choice, dtype);
  const device = describeDevice(choice, {
    kvCacheDtype: floatDtypes[halves.cacheType],
    activationDtype: floatDtypes[halves.activationType],
  });
  const ownAdapters = await ownAdapterNames(folder);
  if (json) return printJson(terminal.stdout, { ...description, sampleChat, device, ownAdapters });
  const deviceField = ["device", `${formatDevice(device)}; ${device.why}`] as const;
  printLine(
    terminal.stdout,
    formatFields([
      ...modelFields(description),
      ...ownAdapterFields(ownAdapters),
      deviceField,
      ...chatFields(sampleChat),
    ]),
  );
  if (sampleChat.text !== null) printLine(terminal.stdout, `\nA sample chat as the model sees it:\n${sampleChat.text}`);
}

function chatFields({ reason, systemRefusal }: SampleChat): [string, string][] {
  if (reason !== null) return [["chats", `none: ${reason}`]];
  if (systemRefusal !== null) return [["chats", `rendered, without a system message: ${systemRefusal}`]];
  return [["chats", "rendered, with or without a system message"]];
}

function headOf({ classifier, head }: DecoderConfig): string {
  if (classifier) return `a layer of ${classifier.outFeatures} labels in place of a head`;
  return head.tied ? "tied head" : "separate head";
}

function positionsOf({ embedding, ropes }: DecoderConfig): string {
  if (embedding.positions) return "learned";
  return ropes.map(({ scaling, theta }) => `rope (${scaling.kind}), theta ${theta}`).join("; ") || "none";
}

/** The layers without attention. */
function mixersOf({ layers, layerCount }: DecoderConfig): [string, string][] {
  const bodies = layers.map(({ mixer }) => mixer.body);
  const filters = bodies.flatMap((body) => (body.kind === "attention" ? [] : [body.filter]));
  const widths = [...new Set(filters.map(({ width }) => width))].join(", ");
  const deltas = bodies.filter(({ kind }) => kind === "delta");
  return [
    ["convolutions", `over ${widths} tokens, in ${filters.length} of ${layerCount} layers`],
    ...(deltas.length === 0 ? [] : [["delta rule", `in ${deltas.length} of ${layerCount} layers`] as [string, string]]),
  ];
}

function modelFields(model: CheckpointDescription): [string, string][] {
  const { config, weights, targetModules: targets } = model;
  const isMixed = model.attentionLayers < config.layerCount;
  const dtypes = Object.entries(weights.dtypes).map(([dtype, count]) => `${count} ${dtype}`);
  return [
    ["model", model.directory],
    ["family", model.family],
    ["parameters", `${formatCount(model.parameters)} (${model.parameters.toLocaleString("en-US")})`],
    [
      "weights",
      `${formatBytes(weights.bytes)} in ${weights.files.length} ${weights.files.length === 1 ? "file" : "files"}: ${dtypes.join(", ")}`,
    ],
    ["as fp32", formatBytes(weights.float32Bytes)],
    ["layers", `${config.layerCount}, ${config.hiddenSize} wide, ${config.intermediateSize} intermediate`],
    [
      "attention",
      `${config.headCount} query and ${config.kvHeadCount} KV heads of ${config.headDim}${isMixed ? `, in ${model.attentionLayers} of ${config.layerCount} layers` : ""}`,
    ],
    ...(isMixed ? mixersOf(config) : []),
    ["windows", model.slidingLayers === 0 ? "none" : `${model.slidingLayers} of ${config.layerCount} layers`],
    ["positions", positionsOf(config)],
    ["context", `${config.maxPositions.toLocaleString("en-US")} tokens`],
    ["vocabulary", `${config.vocabSize.toLocaleString("en-US")} tokens, ${headOf(config)}`],
    ["KV cache", `${formatBytes(model.kvBytesPerToken)} a token in fp32, half of it in fp16`],
    ...(isMixed ? [["states", `${formatBytes(model.stateBytesPerSlot)} a sequence`] as [string, string]] : []),
    ["target modules", `${targets.total}: ${targets.names.join(", ")}`],
    ["stop ids", config.stopIds.join(", ") || "none"],
    ["fingerprint", model.fingerprint],
  ];
}
