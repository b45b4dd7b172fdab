/** The model card of a trained adapter or model: README.md as model hubs read it. */
import type { RunRecord } from "./record.js";

/** Markdown with the hubs' header. `name` is the adapter's. */
export function modelCard(name: string, record: RunRecord): string {
  const { base, data, settings, results } = record;
  const { counts } = data;
  const isFull = settings.method === "full";
  const facts: [string, string][] = [
    [
      "base model",
      `${base.name} (${base.parameters.toLocaleString("en-US")} parameters, trained over in ${base.dtype})`,
    ],
    ["method", methods[settings.method]],
    ["rows", `${data.train_rows} for training, ${data.validation_rows} for validation`],
    ["left out", `${counts.dropped} rows without a label; ${counts.shortened} rows were shortened`],
    ["data", `\`${data.digest}\``],
  ];
  if (record.labels.length > 0 && record.labels.length <= 50) facts.push(["labels", record.labels.join(", ")]);
  return [
    "---",
    `library_name: ${isFull ? "transformers" : "peft"}`,
    `base_model: ${base.name}`,
    "tags:",
    ...(isFull ? [] : ["- lora"]),
    "- lorikeet",
    "---",
    "",
    `# ${name}`,
    "",
    isFull
      ? `${base.name} with every weight trained on, by \`lorikeet train\`. transformers and vLLM load this folder too.`
      : settings.dora
        ? `A DoRA adapter for ${base.name}, trained by \`lorikeet train\`. PEFT loads this folder too.`
        : `A LoRA adapter for ${base.name}, trained by \`lorikeet train\`. PEFT and vLLM load this folder too.`,
    "",
    table([["", ""], ...facts]),
    "",
    "## Results",
    "",
    results ? table([["", ""], ...resultRows(results)]) : "The run has not ended.",
    "",
    "![loss, validation loss and rate](training.svg)",
    "",
    "## Settings",
    "",
    table([["setting", "value"], ...settingRows(settings)]),
    "",
    "## Data",
    "",
    table([["file", "SHA-256"], ...data.files.map(({ split, name: file, sha256 }) => [`${split}: ${file}`, sha256])]),
    "",
  ].join("\n");
}

const methods = {
  sft: "supervised fine-tuning",
  dpo: "direct preference optimization",
  full: "every weight trained",
} as const satisfies Record<RunRecord["settings"]["method"], string>;

function resultRows(results: NonNullable<RunRecord["results"]>): [string, string][] {
  const rows: [string, string][] = [["ended", `${results.ended} after ${results.steps} steps`]];
  if (results.best_step !== null) rows.push(["step kept", String(results.best_step)]);
  if (results.base_validation_loss !== null) {
    rows.push(["validation loss at the start", lossText(results.base_validation_loss)]);
  }
  if (results.validation_loss !== null) rows.push(["validation loss", lossText(results.validation_loss)]);
  if (results.written_validation_loss !== null) {
    rows.push(["validation loss of the written weights", lossText(results.written_validation_loss)]);
  }
  const { served_check: check } = results;
  if (check) {
    const both = `${check.trained.toFixed(5)} in training, ${check.served.toFixed(5)} as served over ${check.dtype}`;
    rows.push([`loss of ${check.rows} validation rows`, both]);
  }
  const perSecond = results.seconds > 0 ? ` (${Math.round(results.tokens / results.seconds)} a second)` : "";
  rows.push(["tokens", `${results.tokens.toLocaleString("en-US")}${perSecond}`]);
  return rows;
}

const lossText = (loss: number): string => `${loss.toFixed(4)} (perplexity ${Math.exp(loss).toFixed(2)})`;

/** What says nothing where every weight is trained. */
const adapterSettings: readonly string[] = ["rank", "alpha", "dropout", "rslora", "loraPlus", "targets", "beta"];

function settingRows(settings: RunRecord["settings"]): [string, string][] {
  return Object.entries(settings)
    .filter(([name, value]) => value !== null && !(settings.method === "full" && adapterSettings.includes(name)))
    .map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : `${JSON.stringify(value)}`]);
}

function table(rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", "\\n")).join(" | ")} |`;
  const [head = [], ...body] = rows;
  return [line(head), line(head.map(() => "---")), ...body.map(line)].join("\n");
}
