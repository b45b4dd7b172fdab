/** How a card says to use what was trained: commands that work as they stand. */
import { basename, dirname, join } from "node:path";
import { elementCount } from "../../tensor/shape.js";
import type { RunRecord, TaskRecord } from "../files/record.js";
import type { CardExample, CardFacts } from "./facts.js";
import { fence, quoted, shownPath } from "./text.js";

/** What a pipeline is asked with. */
export const bodies: Readonly<Record<string, "text" | "picture">> = {
  "text-classification": "text",
  "token-classification": "text",
  "feature-extraction": "text",
  translation: "text",
  "text2text-generation": "text",
  "image-classification": "picture",
  "object-detection": "picture",
};

const server = "http://localhost:8080";
const json = "-H 'content-type: application/json'";

export function useLines(facts: CardFacts, example: CardExample, record: RunRecord): string[] {
  const { labels, label_template: template, task } = record;
  const shown =
    labels.length <= 50 ? labels.join(", ") : `${labels.slice(0, 50).join(", ")} and ${labels.length - 50} more`;
  const says = task
    ? `Its labels are ${shown}.`
    : `It answers with one of the labels ${shown}, in the form ${JSON.stringify(template)}.`;
  return [
    fence("sh", [`npx lorikeet serve ${serveArguments(facts, record)}`]),
    "",
    "In a second terminal:",
    "",
    fence("sh", task ? taskRequest(facts, example, task) : textRequest(facts, example)),
    "",
    ...(labels.length > 0 ? [says, ""] : []),
  ];
}

/** The options of `serve` for the result. Adapters in the folder of a base come with it. */
function serveArguments({ model, outputDir }: CardFacts, { settings }: RunRecord): string {
  if (settings.method === "full") return `--model ${quoted(shownPath(outputDir))}`;
  const folder = dirname(outputDir);
  const base = `--model ${quoted(shownPath(model))}`;
  return folder === join(model, "adapters") ? base : `${base} --adapters ${quoted(shownPath(folder))}`;
}

function textRequest({ outputDir }: CardFacts, { text = "...", temperature }: CardExample): string[] {
  const sampling = temperature === undefined ? {} : { temperature };
  const body = { model: basename(outputDir), prompt: text, max_tokens: 40, ...sampling };
  return [`curl -sS ${server}/v1/completions ${json} \\`, `  -d ${bodyOf(body)}`];
}

function taskRequest({ outputDir }: CardFacts, { text = "...", picture }: CardExample, task: TaskRecord): string[] {
  const name = basename(outputDir);
  const { src_lang, tgt_lang, inputs } = task;
  const body = bodies[task.name];
  if (body === "text") {
    const isStated = src_lang !== undefined || tgt_lang !== undefined;
    const asked = { inputs: text, ...(isStated && { parameters: { src_lang, tgt_lang } }) };
    return [`curl -sS ${server}/models/${name}/pipeline/${task.name} \\`, `  ${json} -d ${bodyOf(asked)}`];
  }
  if (body === "picture") {
    const file = picture === undefined ? "picture.png" : join(shownPath(outputDir), picture);
    const content = `  -H 'content-type: image/png' --data-binary @${file}`;
    return [`curl -sS ${server}/models/${name}/pipeline/${task.name} \\`, content];
  }
  if (inputs === undefined) return [`curl -sS ${server}/v2/models/${name}`];
  const zeros = inputs.map((input) => ({ ...input, data: Array(elementCount(input.shape)).fill(0) }));
  return [`curl -sS ${server}/v2/models/${name}/infer ${json} \\`, `  -d ${bodyOf({ inputs: zeros })}`];
}

const bodyOf = (body: unknown): string => `'${JSON.stringify(body).replaceAll("'", "'\\''")}'`;
