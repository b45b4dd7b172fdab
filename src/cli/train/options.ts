/** The options of `train`, and which of the trainer's settings each one is. */

import type { BaseDtype } from "../../engine/start.js";
import { parseLabelTemplate } from "../../train/data/encode.js";
import { allLinear } from "../../train/lora.js";
import { defaultRate, type ModelSize } from "../../train/optimizer/default-rate.js";
import { type ReportTarget, reportTargets } from "../../train/reports/reports.js";
import { type TrainSettings, trainDefaults } from "../../train/settings.js";
import { configKeys } from "../generate/options.js";
import { engineOptions, flagName, given, type OptionTable, open, type Settings } from "../options/options.js";
import { address, decimal, digest, duration, flag, integer, list, oneOf, type Parser, text } from "../options/units.js";

const { model, cacheDir, chatTemplate, threads } = engineOptions;
const d = trainDefaults;

/** As it was typed: line breaks are put in when it is used. Throws for one without its two places. */
export const labelTemplate: Parser<string> = (value) => {
  parseLabelTemplate(value);
  return value;
};

/** Names of programs with commas between. */
const reportList: Parser<readonly ReportTarget[]> = (value) => list(value).map(oneOf(...reportTargets));

export const trainOptions = {
  model,
  baseDtype: given("Model", d.baseDtype as BaseDtype, {
    placeholder: "type",
    parse: oneOf("fp32", "int8", "int4"),
    help: "weights that the adapter is trained over: as the server runs them with --dtype",
  }),
  cacheDir,
  chatTemplate,
  threads,
  data: open("Data", "required", {
    placeholder: "path",
    parse: text,
    help: "a .jsonl, .json, .csv, .tsv, .txt (each also .gz) or .parquet file, or a folder with train, valid and test files, itself or in its folder data",
  }),
  length: open("Data", "1024, or the model's limit", {
    placeholder: "tokens",
    parse: integer(2),
    help: "the longest row; a longer one loses the start of its prompt",
  }),
  labelTemplate: given("Data", d.labelTemplate, {
    placeholder: "template",
    parse: labelTemplate,
    shown: "{text}\\nlabel: {label}",
    help: "how rows of text and label are written; \\n is a line break",
  }),
  validShare: given("Data", d.validShare, {
    placeholder: "part",
    parse: decimal(0, 0.9),
    help: "part of the rows that validates, where the data has no valid file",
  }),
  validRows: given("Data", d.validRows, {
    placeholder: "n",
    parse: integer(0),
    help: "rows that validate, at most",
  }),
  dataDigest: open("Data", "any data", {
    placeholder: "sha256:...",
    parse: digest,
    help: "the digest that the data must have, as train and eval print it",
  }),
  out: open("Adapter", "required", {
    placeholder: "folder",
    parse: text,
    help: "the folder of the adapter, or with --method full of the model",
  }),
  rank: given("Adapter", d.rank, { placeholder: "r", parse: integer(1, 4096), help: "rank of A and B" }),
  alpha: given("Adapter", d.alpha, {
    placeholder: "number",
    parse: decimal(1e-6, 1e6),
    help: "the adapter's output is scaled by alpha / rank",
  }),
  targets: given("Adapter", d.targets as readonly string[], {
    placeholder: "names",
    parse: list,
    shown: allLinear,
    help: "target modules, separated by commas: q_proj,v_proj",
  }),
  dropout: given("Adapter", d.dropout, {
    placeholder: "p",
    parse: decimal(0, 0.95),
    help: "fraction of an adapter's inputs that is dropped in training",
  }),
  rslora: given("Adapter", d.rslora, { parse: flag, help: "scale by alpha / sqrt(rank) instead" }),
  dora: given("Adapter", d.dora, {
    parse: flag,
    help: "train each layer's magnitude too (DoRA); served like any other adapter",
  }),
  loraPlus: given("Adapter", d.loraPlus, {
    placeholder: "ratio",
    parse: decimal(1, 1000),
    help: "learning rate of B relative to A's (LoRA+; 16 is usual)",
  }),
  saveDtype: given("Adapter", d.saveDtype as TrainSettings["saveDtype"], {
    placeholder: "type",
    parse: oneOf("fp32", "bf16"),
    help: "how the adapter is written; bf16 rounds it to half the size",
  }),
  initFrom: open("Adapter", "none", {
    placeholder: "folder",
    parse: text,
    help: "an adapter to start from; its rank, alpha and target modules are kept",
  }),
  method: given("Training", "sft", {
    placeholder: "method",
    parse: oneOf("sft", "dpo", "full"),
    help: "sft: an adapter from rows; dpo: an adapter from preference pairs; full: every weight from rows, written as a model",
  }),
  rate: open("Training", "by the model's hidden size; 0.000005 with dpo", {
    placeholder: "number",
    parse: decimal(1e-12, 10),
    help: "peak learning rate",
  }),
  schedule: given("Training", d.schedule as TrainSettings["schedule"], {
    placeholder: "shape",
    parse: oneOf("cosine", "linear", "constant"),
    help: "how the learning rate falls after warm-up",
  }),
  rateFloor: given("Training", d.rateFloor, {
    placeholder: "part",
    parse: decimal(0, 1),
    help: "fraction of the peak learning rate that is left at the end",
  }),
  warmUp: given("Training", d.warmUp, {
    placeholder: "part",
    parse: decimal(0, 1),
    help: "fraction of the steps in which the learning rate rises",
  }),
  warmUpSteps: given("Training", d.warmUpSteps, {
    placeholder: "n",
    parse: integer(0),
    help: "least number of steps in which the learning rate rises",
  }),
  batch: given("Training", d.batch, {
    placeholder: "rows",
    parse: integer(1, 65_536),
    help: "rows in one forward and backward pass",
  }),
  accumulate: given("Training", d.accumulate, {
    placeholder: "runs",
    parse: integer(1, 65_536),
    help: "gradient accumulation: a step learns from batch times accumulate rows",
  }),
  lengthWindow: given("Training", d.lengthWindow, {
    placeholder: "steps",
    parse: integer(1),
    help: "steps whose rows are drawn together and sorted by length: more steps, less padding; 1 shuffles best",
  }),
  epochs: given("Training", d.epochs, {
    placeholder: "n",
    parse: decimal(0.001, 100_000),
    help: "passes over the data",
  }),
  steps: open("Training", "as many as the epochs have", {
    placeholder: "n",
    parse: integer(1),
    help: "total steps, instead of epochs",
  }),
  maxTime: open("Training", "none", {
    placeholder: "time",
    parse: duration("s"),
    help: "ends the run after this time and keeps what it has learned",
  }),
  trainOn: given("Training", d.trainOn as TrainSettings["trainOn"], {
    placeholder: "part",
    parse: oneOf("answers", "all", "last"),
    help: "what is learned of a row: completions and the assistant's turns, the prompts too, or only the last answer",
  }),
  packing: given("Training", d.packing, {
    parse: flag,
    help: "pack several short rows into one of full length; each attends only to itself",
  }),
  gradientCheckpointing: given("Training", d.gradientCheckpointing, {
    parse: flag,
    help: "recompute layers in the backward pass: slower, in a fraction of the memory",
  }),
  weightDecay: given("Training", d.weightDecay, {
    placeholder: "number",
    parse: decimal(0, 10),
    help: "AdamW's weight decay",
  }),
  clip: given("Training", d.clip, {
    placeholder: "norm",
    parse: decimal(0, 1e9),
    help: "largest norm of the gradient; 0 turns clipping off",
  }),
  beta1: given("Training", d.beta1, { placeholder: "number", parse: decimal(0, 0.99999), help: "AdamW's first beta" }),
  beta2: given("Training", d.beta2, { placeholder: "number", parse: decimal(0, 0.9999999), help: "AdamW's second" }),
  epsilon: given("Training", d.epsilon, { placeholder: "number", parse: decimal(0, 1), help: "AdamW's epsilon" }),
  beta: given("Training", d.beta, {
    placeholder: "number",
    parse: decimal(1e-6, 100),
    help: "DPO's beta: higher stays closer to the reference, which is the base or the adapter of --init-from",
  }),
  seed: given("Training", d.seed, {
    placeholder: "n",
    parse: integer(0),
    help: "random seed; runs with the same seed and data are reproducible, byte for byte, on one or two threads",
  }),
  evalEvery: open("Run", "a tenth of the run", {
    placeholder: "steps",
    parse: integer(1),
    help: "steps between validations, each with a checkpoint",
  }),
  patience: open("Run", "off", {
    placeholder: "n",
    parse: integer(1),
    help: "early stopping: ends the run after this many validations without a better loss, and keeps the best",
  }),
  loadBestModelAtEnd: given("Run", d.loadBestModelAtEnd, {
    parse: flag,
    help: "keep the weights with the best validation loss instead of the last ones",
  }),
  sampleEvery: open("Run", "at the end only", {
    placeholder: "steps",
    parse: integer(1),
    help: "steps between sample answers, as they would be served; needs memory for the serving engine too",
  }),
  reportTo: open("Run", "none", {
    placeholder: "programs",
    parse: reportList,
    help: "programs whose files are written into --out as the run goes: tensorboard,wandb (to `wandb sync`)",
  }),
  keep: given("Run", d.keep, {
    placeholder: "n",
    parse: integer(1),
    help: "latest checkpoints to keep besides the best",
  }),
  resume: given("Run", false, {
    parse: flag,
    help: "continue the unfinished run in --out, without any other option, or extend a finished one with --model, --data and more --steps",
  }),
  overwrite: given("Run", false, { parse: flag, help: "replace the result or the unfinished run in --out" }),
  dryRun: given("Run", false, {
    parse: flag,
    help: "read the data, show two rows and an estimate of memory and time; write nothing",
  }),
  publish: open("Run", "off", {
    placeholder: "address",
    parse: address,
    help: "a running server that gets the adapter under the folder's name",
  }),
  apiKeyFile: open("Run", "LORIKEET_API_KEY, if set", {
    placeholder: "file",
    parse: text,
    help: "a file that holds the API key of the server to publish to",
  }),
  json: given("Run", false, { parse: flag, help: "print the results as JSON; all else goes to stderr" }),
} as const satisfies OptionTable;

export type TrainFlags = Settings<typeof trainOptions>;

/** What a configuration file may hold for `train`: its own options and those of the other commands. */
export const trainConfigKeys = [...new Set([...configKeys, ...Object.keys(trainOptions).map(flagName)])];

/** The trainer's settings. `model`: what the defaults depend on. */
export function settingsOf(flags: TrainFlags, model: ModelSize & { readonly maxPositions: number }): TrainSettings {
  const { rate, length, maxTime, labelTemplate } = flags;
  return {
    method: flags.method,
    baseDtype: flags.baseDtype,
    rank: flags.rank,
    alpha: flags.alpha,
    dropout: flags.dropout,
    rslora: flags.rslora,
    dora: flags.dora,
    loraPlus: flags.loraPlus,
    saveDtype: flags.saveDtype,
    targets: flags.targets,
    rate: rate ?? defaultRate(flags.method, model),
    schedule: flags.schedule,
    rateFloor: flags.rateFloor,
    warmUp: flags.warmUp,
    warmUpSteps: flags.warmUpSteps,
    batch: flags.batch,
    accumulate: flags.accumulate,
    lengthWindow: flags.lengthWindow,
    epochs: flags.epochs,
    steps: flags.steps,
    maxTimeMs: maxTime,
    length: length ?? Math.min(trainDefaults.length, model.maxPositions),
    trainOn: flags.trainOn,
    packing: flags.packing,
    gradientCheckpointing: flags.gradientCheckpointing,
    weightDecay: flags.weightDecay,
    clip: flags.clip,
    beta1: flags.beta1,
    beta2: flags.beta2,
    epsilon: flags.epsilon,
    seed: flags.seed,
    evalEvery: flags.evalEvery,
    patience: flags.patience,
    loadBestModelAtEnd: flags.loadBestModelAtEnd || flags.patience !== null,
    validShare: flags.validShare,
    validRows: flags.validRows,
    labelTemplate: labelTemplate.replaceAll("\\n", "\n"),
    beta: flags.beta,
    keep: flags.keep,
  };
}
