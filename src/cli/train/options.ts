/** The options of `train`, and the trainer's settings derived from them. */

import type { BaseDtype } from "../../engine/start.js";
import { parseLabelTemplate } from "../../train/data/encode.js";
import { allLinear } from "../../train/lora.js";
import { defaultRate, type ModelSize } from "../../train/optimizer/default-rate.js";
import { type ReportTarget, reportTargets } from "../../train/reports/reports.js";
import { type TrainSettings, trainDefaults } from "../../train/settings.js";
import { trainedTasks } from "../../train/tasks/setups/open.js";
import { engineOptions } from "../options/engine-options.js";
import { onnxFile } from "../options/onnx-file.js";
import { count, given, type OptionTable, open, type Settings } from "../options/option.js";
import {
  address,
  decimal,
  digest,
  duration,
  flag,
  integer,
  list,
  names,
  oneOf,
  type Parser,
  text,
} from "../options/units.js";

const { model, cacheDir, chatTemplate, threads } = engineOptions;
const d = trainDefaults;

/** The template as typed; `\\n` becomes a line break when it is used. Throws unless it holds both {text} and {label}. */
export const labelTemplate: Parser<string> = (value) => {
  parseLabelTemplate(value);
  return value;
};

/** Warmup as in transformers 5: a count of steps, or below 1 a fraction of all steps. */
export const warmup: Parser<number> = (value) => {
  const steps = value.trim() === "" ? Number.NaN : Number(value);
  if ((steps >= 0 && steps < 1) || (steps >= 1 && Number.isSafeInteger(steps))) return steps;
  throw new Error("must be a whole number of steps, or a fraction of all steps below 1");
};

/** A config file or an environment variable may name a card for the server. */
const trainDevice: Parser<"cpu"> = (value) => {
  if (value === "cpu" || value === "auto") return "cpu";
  throw new Error("must be cpu: training runs on the CPU");
};

/** Programs, separated by commas. */
const reportList: Parser<readonly ReportTarget[]> = (value) => list(value).map(oneOf(...reportTargets));

export const trainOptions = {
  model,
  dtype: given("Model", d.dtype as BaseDtype, {
    placeholder: "type",
    parse: oneOf("fp32", "int8", "int4"),
    help: "frozen weights under the adapter, as `serve --dtype` runs them",
  }),
  onnxFile,
  cacheDir,
  chatTemplate,
  device: given("Model", "cpu", {
    placeholder: "device",
    parse: trainDevice,
    help: "only cpu: training runs on the CPU",
  }),
  threads,
  task: open("Model", "from config.json", {
    placeholder: "task",
    parse: oneOf(...trainedTasks),
    help: "what a task model is trained for, where its folder does not say so; a decoder is trained on text, or for text-classification",
  }),
  data: open("Data", "required", {
    placeholder: "path",
    parse: text,
    help: "a .jsonl, .json, .csv, .tsv, .txt (optionally .gz) or .parquet file, or a folder that holds train, valid and test files, directly or in a subfolder named data",
  }),
  maxLength: open("Data", "1024, or the model's limit", {
    placeholder: "tokens",
    parse: integer(2),
    help: "tokens of the longest row; longer rows lose the start of their prompt, and texts of task models their end",
  }),
  labelTemplate: given("Data", d.labelTemplate, {
    placeholder: "template",
    parse: labelTemplate,
    shown: "{text}\\nlabel: {label}",
    help: "how a text and its label become a row; \\n is a line break",
  }),
  validationSplit: given("Data", d.validationSplit, {
    placeholder: "fraction",
    parse: decimal(0, 0.9),
    help: "fraction of the rows held out for validation when the data has no valid file",
  }),
  labels: open("Data", "the model's", {
    placeholder: "names",
    parse: names,
    help: "labels of a head, separated by commas, or a JSON file with a list of them; the head is a fresh one unless they are the base's",
  }),
  maxEvalSamples: count("Data", d.maxEvalSamples, 0, "validation rows at most"),
  dataDigest: open("Data", "any data", {
    placeholder: "sha256:...",
    parse: digest,
    help: "refuse data with any other digest; train and eval print it",
  }),
  outputDir: open("Adapter", "required", {
    placeholder: "folder",
    parse: text,
    help: "folder to write the adapter to, or the model with --method full",
  }),
  description: open("Adapter", "none", {
    placeholder: "text",
    parse: text,
    help: "what the result is for, in a sentence; the first words of its card, which the page shows",
  }),
  loraR: given("Adapter", d.loraR, {
    placeholder: "r",
    parse: integer(1, 4096),
    help: "rank of the LoRA matrices A and B",
  }),
  loraAlpha: given("Adapter", d.loraAlpha, {
    placeholder: "number",
    parse: decimal(1e-6, 1e6),
    help: "scales the adapter's output by alpha / rank",
  }),
  targetModules: given("Adapter", d.targetModules as readonly string[], {
    placeholder: "names",
    parse: list,
    shown: allLinear,
    help: "target modules, separated by commas: q_proj,v_proj; all-linear is every linear layer (and convolution of a task model) but the head",
  }),
  modulesToSave: open("Adapter", "the head of a classifier or policy", {
    placeholder: "names",
    parse: list,
    help: "modules of a task model that are trained and saved whole, separated by commas",
  }),
  loraDropout: given("Adapter", d.loraDropout, {
    placeholder: "p",
    parse: decimal(0, 0.95),
    help: "dropout probability on the adapter's inputs",
  }),
  useRslora: given("Adapter", d.useRslora, { parse: flag, help: "scale by alpha / sqrt(rank) (rsLoRA)" }),
  useDora: given("Adapter", d.useDora, {
    parse: flag,
    help: "also train the magnitude of each target module (DoRA)",
  }),
  loraplusLrRatio: given("Adapter", d.loraplusLrRatio, {
    placeholder: "ratio",
    parse: decimal(1, 1000),
    help: "learning rate of B divided by that of A (LoRA+; usually 16)",
  }),
  saveDtype: given("Adapter", d.saveDtype as TrainSettings["saveDtype"], {
    placeholder: "type",
    parse: oneOf("fp32", "bf16"),
    help: "type of the saved adapter; bf16 rounds and halves the size",
  }),
  initFrom: open("Adapter", "none", {
    placeholder: "folder",
    parse: text,
    help: "adapter to start from; keeps its rank, alpha and target modules",
  }),
  method: given("Training", "sft", {
    placeholder: "method",
    parse: oneOf("sft", "dpo", "full"),
    help: "sft: train an adapter on rows; dpo: train an adapter on preference pairs; full: train every weight and save a model",
  }),
  learningRate: open("Training", "from the hidden size; 0.000005 with dpo", {
    placeholder: "number",
    parse: decimal(1e-12, 10),
    help: "peak learning rate",
  }),
  lrSchedulerType: given("Training", d.lrSchedulerType as TrainSettings["lrSchedulerType"], {
    placeholder: "type",
    parse: oneOf("cosine", "linear", "constant"),
    help: "shape of the learning rate after warmup",
  }),
  minLrRate: given("Training", d.minLrRate, {
    placeholder: "fraction",
    parse: decimal(0, 1),
    help: "final learning rate, as a fraction of the peak",
  }),
  warmupSteps: open("Training", "0.03, at least 5 steps", {
    placeholder: "n",
    parse: warmup,
    help: "steps over which the learning rate rises: a count, or below 1 a fraction of all steps",
  }),
  batchSize: given("Training", d.batchSize, {
    placeholder: "rows",
    parse: integer(1, 65_536),
    help: "rows in one forward and backward pass",
  }),
  gradientAccumulationSteps: given("Training", d.gradientAccumulationSteps, {
    placeholder: "n",
    parse: integer(1, 65_536),
    help: "batches per optimizer step",
  }),
  lengthWindow: given("Training", d.lengthWindow, {
    placeholder: "steps",
    parse: integer(1),
    help: "steps whose rows are drawn together and sorted by length: more means less padding, 1 shuffles best",
  }),
  epochs: given("Training", d.epochs, {
    placeholder: "n",
    parse: decimal(0.001, 100_000),
    help: "passes over the data",
  }),
  maxSteps: open("Training", "from --epochs", {
    placeholder: "n",
    parse: integer(1),
    help: "optimizer steps; overrides --epochs",
  }),
  maxTime: open("Training", "none", {
    placeholder: "time",
    parse: duration("s"),
    help: "stop training after this time and save the result",
  }),
  trainOn: given("Training", d.trainOn as TrainSettings["trainOn"], {
    placeholder: "tokens",
    parse: oneOf("answers", "all", "last"),
    help: "tokens of a row that count in the loss: answers (completions and assistant turns), all (prompts too) or last (the final answer only)",
  }),
  packing: given("Training", d.packing, {
    parse: flag,
    help: "pack short rows together up to --max-length; each attends only to itself",
  }),
  gradientCheckpointing: given("Training", d.gradientCheckpointing, {
    parse: flag,
    help: "recompute activations in the backward pass: slower, but with much less memory",
  }),
  weightDecay: given("Training", d.weightDecay, {
    placeholder: "number",
    parse: decimal(0, 10),
    help: "weight decay of AdamW",
  }),
  maxGradNorm: given("Training", d.maxGradNorm, {
    placeholder: "norm",
    parse: decimal(0, 1e9),
    help: "clip gradients to this norm; 0 disables clipping",
  }),
  adamBeta1: given("Training", d.adamBeta1, {
    placeholder: "number",
    parse: decimal(0, 0.99999),
    help: "beta1 of AdamW",
  }),
  adamBeta2: given("Training", d.adamBeta2, {
    placeholder: "number",
    parse: decimal(0, 0.9999999),
    help: "beta2 of AdamW",
  }),
  adamEpsilon: given("Training", d.adamEpsilon, {
    placeholder: "number",
    parse: decimal(0, 1),
    help: "epsilon of AdamW",
  }),
  beta: given("Training", d.beta, {
    placeholder: "number",
    parse: decimal(1e-6, 100),
    help: "beta of DPO: higher stays closer to the reference (the base model, or the --init-from adapter)",
  }),
  seed: count(
    "Training",
    d.seed,
    0,
    "random seed; runs with the same seed and data are reproducible, byte for byte, on one or two threads",
  ),
  evalSteps: open("Run", "every tenth of the run", {
    placeholder: "steps",
    parse: integer(1),
    help: "steps between validations; each also saves a checkpoint",
  }),
  tokenAccuracy: given("Run", d.tokenAccuracy as boolean, {
    parse: flag,
    help: "also measure in validations how many of the tokens that count are the likeliest ones",
  }),
  earlyStoppingPatience: open("Run", "off", {
    placeholder: "n",
    parse: integer(1),
    help: "stop after this many validations without improvement, and keep the best weights",
  }),
  loadBestModelAtEnd: given("Run", d.loadBestModelAtEnd, {
    parse: flag,
    help: "save the weights with the best validation loss instead of the last ones",
  }),
  sampleEvery: open("Run", "at the end only", {
    placeholder: "steps",
    parse: integer(1),
    help: "steps between sample answers from the serving engine, which needs additional memory",
  }),
  reportTo: open("Run", "none", {
    placeholder: "programs",
    parse: reportList,
    help: "write logs for tensorboard, wandb (upload them with `wandb sync`) or both into --output-dir",
  }),
  saveTotalLimit: count("Run", d.saveTotalLimit, 1, "most recent checkpoints to keep, besides the best"),
  resume: given("Run", false, {
    parse: flag,
    help: "continue the unfinished run in --output-dir, with no other option; or extend a finished one, with --model, --data and more --max-steps",
  }),
  overwrite: given("Run", false, { parse: flag, help: "replace the result or unfinished run in --output-dir" }),
  dryRun: given("Run", false, {
    parse: flag,
    help: "read the data, show two rows, estimate memory and time, and write nothing",
  }),
  publish: open("Run", "off", {
    placeholder: "address",
    parse: address,
    help: "upload the adapter to this server, under the name of its folder",
  }),
  apiKeyFile: open("Run", "LORIKEET_API_KEY, if set", {
    placeholder: "file",
    parse: text,
    help: "file with the API key for --publish",
  }),
  json: given("Run", false, { parse: flag, help: "print the results as JSON on stdout and everything else on stderr" }),
} as const satisfies OptionTable;

export type TrainFlags = Settings<typeof trainOptions>;

/** The trainer's settings. Some defaults depend on the model. `labels`: of `--labels`. */
export function settingsOf(
  flags: TrainFlags,
  model: ModelSize & { readonly maxPositions: number },
  labels: readonly string[] | null = null,
): TrainSettings {
  const { learningRate, maxLength, labelTemplate } = flags;
  return {
    method: flags.method,
    dtype: flags.dtype,
    loraR: flags.loraR,
    loraAlpha: flags.loraAlpha,
    loraDropout: flags.loraDropout,
    useRslora: flags.useRslora,
    useDora: flags.useDora,
    loraplusLrRatio: flags.loraplusLrRatio,
    saveDtype: flags.saveDtype,
    targetModules: flags.targetModules,
    learningRate: learningRate ?? defaultRate(flags.method, model),
    lrSchedulerType: flags.lrSchedulerType,
    minLrRate: flags.minLrRate,
    warmupSteps: flags.warmupSteps,
    batchSize: flags.batchSize,
    gradientAccumulationSteps: flags.gradientAccumulationSteps,
    lengthWindow: flags.lengthWindow,
    epochs: flags.epochs,
    maxSteps: flags.maxSteps,
    maxTimeMs: flags.maxTime,
    maxLength: maxLength ?? Math.min(trainDefaults.maxLength, model.maxPositions),
    trainOn: flags.trainOn,
    packing: flags.packing,
    gradientCheckpointing: flags.gradientCheckpointing,
    weightDecay: flags.weightDecay,
    maxGradNorm: flags.maxGradNorm,
    adamBeta1: flags.adamBeta1,
    adamBeta2: flags.adamBeta2,
    adamEpsilon: flags.adamEpsilon,
    seed: flags.seed,
    evalSteps: flags.evalSteps,
    earlyStoppingPatience: flags.earlyStoppingPatience,
    loadBestModelAtEnd: flags.loadBestModelAtEnd || flags.earlyStoppingPatience !== null,
    validationSplit: flags.validationSplit,
    maxEvalSamples: flags.maxEvalSamples,
    tokenAccuracy: flags.tokenAccuracy,
    labelTemplate: labelTemplate.replaceAll("\\n", "\n"),
    beta: flags.beta,
    task: flags.task,
    labels,
    modulesToSave: flags.modulesToSave,
    saveTotalLimit: flags.saveTotalLimit,
  };
}
