/** The model card of a trained adapter or model: a README.md for model hubs, with the recipe that reproduces it. */

import { basename, dirname, isAbsolute } from "node:path";
import { methodOf } from "../../adapter/format.js";
import { type TrainSettings, trainDefaults } from "../settings.js";
import type { Metrics } from "../trainable.js";
import type { RunRecord, RunResults, TaskRecord } from "./record.js";

/** What a card says besides the record. */
export interface CardFacts {
  /** The base, as the run was given it: a folder or a name on the hub. */
  readonly model: string;
  readonly outputDir: string;
  /** The author's words; null: the card says only how it was made. */
  readonly description: string | null;
  /** The adapter that it started from, as the run was given it. */
  readonly initFrom: string | null;
  /** Texts to try it with. */
  readonly examples: readonly string[];
}

/** Longer prompts do not serve as examples. */
const mostExampleCharacters = 1000;
const mostExamples = 3;

/** Markdown with the hubs' front matter. */
export function modelCard(facts: CardFacts, record: RunRecord): string {
  const { base, data, settings, results, task } = record;
  const name = basename(facts.outputDir);
  const examples = examplesOf(facts, record);
  const isFull = settings.method === "full";
  return [
    "---",
    `library_name: ${isFull ? (task ? "onnx" : "transformers") : "peft"}`,
    `base_model: ${base.name}`,
    "tags:",
    ...(isFull ? [] : ["- lora"]),
    "- lorikeet",
    ...(examples.length > 0 ? ["widget:", ...examples.map((text) => `- text: ${JSON.stringify(text)}`)] : []),
    "---",
    "",
    `# ${name}`,
    "",
    ...(facts.description === null ? [] : [facts.description, ""]),
    summary(record),
    "",
    ...(results ? resultLines(results, record) : ["The run has not finished.", ""]),
    "![loss, validation loss and learning rate](training.svg)",
    "",
    "## Use",
    "",
    ...useLines(facts, examples[0] ?? "...", record),
    "## Data",
    "",
    dataLine(facts, record),
    "",
    table(
      ["file", "SHA-256"],
      data.files.map(({ split, name: file, sha256 }) => [`${split}: ${file}`, sha256]),
    ),
    "",
    "## Recipe",
    "",
    "For `lorikeet train --config`, along with `model`, `data` and `output-dir`. All other options have their defaults.",
    "",
    fence("yaml", recipe(record)),
    "",
  ].join("\n");
}

/** Prompts of the run's sample answers, where they are texts. */
function examplesOf({ examples }: CardFacts, { results, task }: RunRecord): string[] {
  const asked = task && bodies[task.name] === "text" ? (results?.samples ?? []).map(({ prompt }) => prompt) : examples;
  const short = asked.filter((text) => text !== "" && text.length <= mostExampleCharacters);
  return [...new Set(short)].slice(0, mostExamples);
}

/** A path as it was given. Cards are published, so of an absolute one only the last folder is told. */
const shownPath = (path: string): string => (isAbsolute(path) ? `path/to/${basename(path)}` : path);

/** The options of `serve` for the result. */
const serveArguments = ({ model, outputDir }: CardFacts, { settings }: RunRecord): string =>
  settings.method === "full"
    ? `--model ${shownPath(outputDir)}`
    : `--model ${shownPath(model)} --adapters ${shownPath(dirname(outputDir))}`;

function summary({ base, settings, task }: RunRecord): string {
  const parameters = `${base.name} (${base.parameters.toLocaleString("en-US")} parameters)`;
  if (settings.method === "full") {
    const trained = `${parameters} with every weight trained by \`lorikeet train\``;
    return task ? `${trained} for ${task.name}.` : `${trained}. transformers and vLLM load this folder too.`;
  }
  const kind = methodOf({ peft_type: "LORA", use_rslora: settings.useRslora, use_dora: settings.useDora }).name;
  const method = settings.method === "dpo" ? " on preferences (DPO)" : task ? ` for ${task.name}` : "";
  const readers = settings.useDora || task ? "PEFT loads" : "PEFT and vLLM load";
  return `A ${kind} adapter of rank ${settings.loraR} for ${parameters}, trained over its ${base.dtype} weights by \`lorikeet train\`${method}. ${readers} this folder too.${task ? taskText(task) : ""}`;
}

function taskText({ heads, frozen_norms: frozen }: TaskRecord): string {
  const saved = heads.length === 0 ? "" : ` Trained and saved whole: ${heads.map((path) => `\`${path}\``).join(", ")}.`;
  return `${saved}${frozen ? " Batch normalizations kept the base's statistics." : ""}`;
}

function resultLines(results: RunResults, { data, settings, task }: RunRecord): string[] {
  const units = settings.method === "dpo" ? "validation pairs" : "validation rows";
  const hasPerplexity = !isPreference(settings) && !task;
  const rows = validationRows(results, hasPerplexity);
  return [
    ...(rows.length > 0
      ? [table([`${data.validation_rows} ${units}`, "loss", ...(hasPerplexity ? ["perplexity"] : [])], rows), ""]
      : []),
    ...metricLines(results),
    ...sampleLines(results),
    `${endings[results.ended] ?? results.ended} after ${results.steps} steps of ${settings.batchSize * settings.gradientAccumulationSteps} ${settings.method === "dpo" ? "pairs" : "rows"}; the weights of step ${results.kept_step} are saved: ${tokensText(results, task)}.${servedText(results, data)}`,
    "",
  ];
}

/** The loss of DPO is per pair, not per token, so there is no perplexity. */
const isPreference = ({ method }: TrainSettings): boolean => method === "dpo";

/** Validation losses: before the run, of the last and of the best weights, and of the saved ones. */
function validationRows(results: RunResults, hasPerplexity: boolean): string[][] {
  const { base_validation_loss: before, written_validation_loss: written, kept_step: kept } = results;
  const { steps, last_validation_loss: last, best_step: bestStep, best_validation_loss: best } = results;
  const shown = (step: number): string => `step ${step}${step === kept ? ", kept" : ""}`;
  const entries: readonly (readonly [name: string, loss: number | null])[] = [
    ["before", before],
    [`${bestStep === steps ? "last and best" : "last"} (${shown(steps)})`, last],
    ...(bestStep === null || bestStep === steps ? [] : [[`best (${shown(bestStep)})`, best] as const]),
    ["as saved, rounded", written],
  ];
  return entries.flatMap(([name, loss]) =>
    loss === null ? [] : [[name, loss.toFixed(4), ...(hasPerplexity ? [perplexity(loss)] : [])]],
  );
}

/** What the validation measured besides the loss, before and after. */
function metricLines({ base_validation_metrics: before, validation_metrics: now }: RunResults): string[] {
  if (!before || !now) return [];
  const names = Object.keys(now);
  const cells = (metrics: Metrics): string[] => names.map((name) => metrics[name]?.toFixed(4) ?? "");
  const head = ["", ...names.map((name) => name.replaceAll("_", " "))];
  return [
    table(head, [
      ["before", ...cells(before)],
      ["kept", ...cells(now)],
    ]),
    "",
  ];
}

function sampleLines({ samples = [] }: RunResults): string[] {
  if (samples.length === 0) return [];
  const rows = samples.map(({ prompt, expected, before, after }) => [prompt, expected, before, after].map(shortened));
  return ["Some validation rows:", "", table(["row", "expected", "before", "kept"], rows), ""];
}

const shortened = (text: string): string => (text.length > 200 ? `${text.slice(0, 197)}...` : text);

const endings: Readonly<Record<string, string>> = {
  done: "Done",
  patience: "Stopped early, without further improvement,",
  time: "Stopped at its time limit",
  diverged: "Stopped because the loss diverged,",
};

const perplexity = (loss: number): string => Math.exp(loss).toFixed(2);
const tokensText = ({ tokens, seconds }: RunResults, task: TaskRecord | undefined): string =>
  `${tokens.toLocaleString("en-US")} ${task && !/^(text|token|feature)|^translation/.test(task.name) ? "rows" : "tokens"}${seconds > 0 ? `, ${Math.round(tokens / seconds)} a second` : ""}`;

function servedText({ served_check: check }: RunResults, { validation_rows: held }: RunRecord["data"]): string {
  if (!check) return "";
  return ` On ${check.rows} of the ${held > 0 ? "validation" : "training"} rows the loss is ${check.trained.toFixed(5)} by the training graph and ${check.served.toFixed(5)} as served over ${check.dtype}.`;
}

function useLines(facts: CardFacts, example: string, record: RunRecord): string[] {
  const { labels, label_template: template, task } = record;
  if (task) return taskUseLines(facts, example, record, task);
  const request = { model: basename(facts.outputDir), prompt: example, max_tokens: 40 };
  const lines = [
    `npx lorikeet serve ${serveArguments(facts, record)}`,
    "curl http://localhost:8080/v1/completions -H 'content-type: application/json' \\",
    `  -d ${quoted(request)}`,
  ];
  const written = JSON.stringify(template);
  const shown =
    labels.length <= 50 ? labels.join(", ") : `${labels.slice(0, 50).join(", ")} and ${labels.length - 50} more`;
  return [
    fence("sh", lines),
    "",
    ...(labels.length > 0 ? [`It answers with one of the labels ${shown}, in the form ${written}.`, ""] : []),
  ];
}

/** JSON as one word of a shell. */
const quoted = (body: unknown): string => `'${JSON.stringify(body).replaceAll("'", "'\\''")}'`;

/** What a pipeline is asked with. */
const bodies: Readonly<Record<string, "text" | "picture">> = {
  "text-classification": "text",
  "token-classification": "text",
  "feature-extraction": "text",
  translation: "text",
  "text2text-generation": "text",
  "image-classification": "picture",
  "object-detection": "picture",
};

function taskUseLines(facts: CardFacts, example: string, record: RunRecord, asked: TaskRecord): string[] {
  const { labels } = record;
  const { name: task, src_lang, tgt_lang } = asked;
  const name = basename(facts.outputDir);
  const isStated = src_lang !== undefined || tgt_lang !== undefined;
  const text = `-H 'content-type: application/json' -d ${quoted({ inputs: example, ...(isStated && { parameters: { src_lang, tgt_lang } }) })}`;
  const picture = "-H 'content-type: image/png' --data-binary @picture.png";
  const body = bodies[task];
  const asks =
    body === undefined
      ? [`curl http://localhost:8080/v2/models/${name}`]
      : [`curl http://localhost:8080/models/${name}/pipeline/${task} \\`, `  ${body === "text" ? text : picture}`];
  const shown =
    labels.length <= 50 ? labels.join(", ") : `${labels.slice(0, 50).join(", ")} and ${labels.length - 50} more`;
  return [
    fence("sh", [`npx lorikeet serve ${serveArguments(facts, record)}`, ...asks]),
    "",
    ...(labels.length > 0 ? [`Its labels are ${shown}.`, ""] : []),
  ];
}

function dataLine({ initFrom }: CardFacts, { data, init_from: digest }: RunRecord): string {
  const { dropped, shortened } = data.counts;
  const left = [
    ...(dropped > 0 ? [`${dropped} without a label were skipped`] : []),
    ...(shortened > 0 ? [`${shortened} were shortened`] : []),
  ];
  const more = left.length > 0 ? `; ${left.join(", ")}` : "";
  const count = (rows: number): string => rows.toLocaleString("en-US");
  return `${count(data.train_rows)} rows to train on and ${count(data.validation_rows)} to validate${more}.${digest === null ? "" : ` It started from the adapter ${initFrom === null ? digest : `\`${shownPath(initFrom)}\` (${digest})`}.`}`;
}

/** Settings that do not apply when every weight is trained. */
const ofAdapters: readonly string[] = [
  "loraR",
  "loraAlpha",
  "loraDropout",
  "useRslora",
  "useDora",
  "loraplusLrRatio",
  "targetModules",
  "saveDtype",
];

/** The run's options as lines of a config file. Defaults are left out, except the most important ones. */
function recipe({ settings, data }: RunRecord): string[] {
  const always: readonly string[] = [
    "loraR",
    "loraAlpha",
    "learningRate",
    "batchSize",
    "gradientAccumulationSteps",
    "maxLength",
    "seed",
  ];
  const isTold = ([name, value]: [string, unknown]): boolean => {
    if (value === null || (settings.method === "full" && ofAdapters.includes(name))) return false;
    if (name === "epochs") return settings.maxSteps === null;
    if (name === "beta" && settings.method !== "dpo") return false;
    return always.includes(name) || String(value) !== String(trainDefaults[name as keyof typeof trainDefaults]);
  };
  const lines = Object.entries(settings)
    .filter(isTold)
    .map(([name, value]) => (name === "maxTimeMs" ? `max-time: ${value}ms` : `${keyOf(name)}: ${textOf(value)}`));
  return [`data-digest: ${data.digest}`, ...lines];
}

const keyOf = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const textOf = (value: unknown): string => (Array.isArray(value) ? `[${value.join(", ")}]` : JSON.stringify(value));

const fence = (language: string, lines: readonly string[]): string => [`\`\`\`${language}`, ...lines, "```"].join("\n");

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", "\\n")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
