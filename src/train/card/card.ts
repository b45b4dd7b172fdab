/** The model card of a trained adapter or model: a README.md for model hubs, with the command that trains it again. */

import { basename } from "node:path";
import { methodOf } from "../../adapter/format.js";
import type { JobOfRun, OriginRecord, RunRecord, TaskRecord } from "../files/record.js";
import type { CardExample, CardFacts } from "./facts.js";
import { resultLines, testLines } from "./results.js";
import { count, fence, shownPath, table } from "./text.js";
import { bodies, useLines } from "./use.js";

/** Longer prompts do not serve as examples. */
const mostExampleCharacters = 1000;
const mostExamples = 3;

/** Markdown with the hubs' front matter. */
export function modelCard(facts: CardFacts, record: RunRecord): string {
  const { base, data, settings, task, test, command, job } = record;
  const name = basename(facts.outputDir);
  const examples = examplesOf(facts, record);
  const isFull = settings.method === "full";
  return [
    "---",
    `library_name: ${isFull ? (task ? "onnx" : "transformers") : "peft"}`,
    ...(base.name === name ? [] : [`base_model: ${base.name}`]), // a model whose weights were random has no other base
    "tags:",
    ...(isFull ? [] : ["- lora"]),
    "- lorikeet",
    ...(examples.length > 0 ? ["widget:", ...examples.flatMap(widgetLines)] : []),
    "---",
    "",
    `# ${name}`,
    "",
    ...(facts.description === null ? [] : [facts.description, ""]),
    ...testLines(test, isFull),
    summary(record),
    "",
    "## Use",
    "",
    ...useLines(facts, examples[0] ?? {}, record),
    "## Data",
    "",
    ...originLines(record.origin),
    dataLine(facts, record),
    "",
    table(
      ["file", "SHA-256"],
      data.files.map(({ split, name: file, sha256 }) => [`${split}: ${ownName(split, job) ?? file}`, sha256]),
    ),
    "",
    "## Training",
    "",
    ...(job ? [jobLine(job), ""] : []),
    ...(job?.checkpoint === undefined ? trainingLines(record) : []),
    ...(command === undefined ? [] : ["The command that trains it again:", "", fence("sh", [command]), ""]),
  ].join("\n");
}

function trainingLines(record: RunRecord): string[] {
  const { results } = record;
  const figures = results ? resultLines(results, record) : ["The run has not finished.", ""];
  return [...figures, "![loss, validation loss and learning rate](training.svg)", ""];
}

function jobLine({ id, created_at: at, checkpoint }: JobOfRun): string {
  const what = checkpoint === undefined ? "Trained" : `Weights after step ${checkpoint}, trained`;
  return `${what} by the fine-tuning job ${id} of a Lorikeet server, created ${at}.`;
}

/** What a job's owner calls a file. */
const ownName = (split: string, job: JobOfRun | undefined): string | undefined =>
  job?.files.find((file) => file.split === split)?.name.replaceAll(/[\\[\]<>`*]/g, "");

/** Prompts of the run's sample answers, where they are texts. */
function examplesOf({ examples }: CardFacts, { results, task }: RunRecord): CardExample[] {
  const asked = (results?.samples ?? []).map(({ prompt }): CardExample => ({ text: prompt }));
  const isOfRun = examples.length === 0 && task !== undefined && bodies[task.name] === "text";
  const short = (isOfRun ? asked : examples).filter(
    ({ text, picture }) =>
      picture !== undefined || (text !== undefined && text !== "" && text.length <= mostExampleCharacters),
  );
  const distinct = short.filter(
    ({ text }, i) => text === undefined || short.findIndex((other) => other.text === text) === i,
  );
  return distinct.slice(0, mostExamples);
}

function widgetLines({ title, text, picture, temperature }: CardExample): string[] {
  const [first = "", ...others] = [
    ...(title === undefined ? [] : [`example_title: ${/^\w[\w' ,]*$/.test(title) ? title : JSON.stringify(title)}`]),
    ...(text === undefined ? [] : [`text: ${JSON.stringify(text)}`]),
    ...(picture === undefined ? [] : [`src: ${picture}`]),
    ...(temperature === undefined ? [] : [`parameters: { temperature: ${temperature} }`]),
  ];
  return [`- ${first}`, ...others.map((line) => `  ${line}`)];
}

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

/** Where the data comes from. Pictures are left to readers of the record: Markdown has none without a file. */
function originLines(origin: OriginRecord | undefined): string[] {
  if (!origin) return [];
  const { data, license, recipe, commands, rows, withheld } = origin;
  const texts = rows.filter(({ input }) => !input.startsWith("data:"));
  const where = recipe === null ? "" : `The recipe is \`${recipe}\` in the repository, not in its npm package. `;
  return [
    `${data}${license === null ? "" : ` Licence of the data: ${license}.`}`,
    "",
    ...(texts.length > 0
      ? [
          "Some rows that it learned from:",
          "",
          table(
            ["row", "answer"],
            texts.map(({ input, output }) => [input, output]),
          ),
          "",
        ]
      : []),
    ...(withheld === undefined ? [] : [withheld, ""]),
    ...(commands.length > 0 ? [`${where}To make it again, with its data:`, "", fence("sh", commands), ""] : []),
  ];
}

function dataLine({ initFrom }: CardFacts, { data, init_from: digest }: RunRecord): string {
  const { dropped, shortened } = data.counts;
  const left = [
    ...(dropped > 0 ? [`${dropped} without a label were skipped`] : []),
    ...(shortened > 0 ? [`${shortened} were shortened`] : []),
  ];
  const more = left.length > 0 ? `; ${left.join(", ")}` : "";
  const held = data.validation_rows;
  const validated = held === 0 ? ", none to validate" : ` and ${count(held)} to validate`;
  return `${count(data.train_rows)} rows to train on${validated}${more}.${digest === null ? "" : ` It started from the adapter ${initFrom === null ? digest : `\`${shownPath(initFrom)}\` (${digest})`}.`}`;
}
