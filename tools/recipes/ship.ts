/**
 * Measures an adapter of bookworm-7m on the test rows of its recipe, the base too, and writes its card into adapters/. Ships the recipe's output
 * there before, or with --shipped measures what is there.
 *
 *     npm run build && node dist/tools/recipes/ship.js commands [--shipped]
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Metrics } from "../../src/train/trainable.js";
import { lorikeet } from "./bases/lorikeet.js";
import { isOfShipped, ship } from "./bases/shipped.js";
import { type Measured, writeCard } from "./cards/card.js";
import { languageAdapters } from "./cards/language.js";

interface Figures {
  readonly rows: number;
  readonly perplexity?: number;
  readonly exact_match?: { readonly share: number } | null;
  readonly label_accuracy?: { readonly share: number } | null;
  readonly metrics?: Metrics;
}

const name = process.argv[2] ?? "";
const known = Object.hasOwn(languageAdapters, name) ? languageAdapters[name] : undefined;
if (!known) throw new Error(`There is no adapter ${name}; there are ${Object.keys(languageAdapters).join(", ")}.`);

async function evaluate(command: string): Promise<Figures> {
  const [verb = "", ...words] = command.replace(/^npx lorikeet /, "").split(" ");
  const options = Object.fromEntries(words.flatMap((word, i) => (i % 2 === 0 ? [[word, words[i + 1] ?? ""]] : [])));
  return JSON.parse(await lorikeet([verb], { ...options, "--json": true }));
}

/** Of what was asked for: labels, whole answers, or else how likely the text is. */
function metricsOf({ metrics, label_accuracy: labels, exact_match: exact, perplexity = 0 }: Figures): Metrics {
  if (metrics) return metrics;
  if (labels) return { accuracy: labels.share };
  return exact ? { exact: exact.share } : { perplexity };
}

/** Rows of generated data, whose texts are our own. */
async function samplesOf(): Promise<Measured["samples"]> {
  if (known?.origin.withheld !== undefined) return [];
  const text = await readFile(join("tools/recipes/data", name, "train.jsonl"), "utf8");
  return text.split("\n").slice(0, 4).map(sampleOf);
}

function sampleOf(line: string) {
  const { prompt, completion, messages, tools } = JSON.parse(line);
  if (prompt !== undefined) return { input: String(prompt).trimEnd(), output: String(completion) };
  const [asked, answered] = messages;
  const offered = (tools ?? []).map((tool: { function: { name: string } }) => tool.function.name);
  const call = answered.tool_calls?.[0]?.function;
  return {
    input: `${asked.content}${offered.length > 0 ? ` (offered: ${offered.join(", ")})` : " (nothing is offered)"}`,
    output: call ? `${call.name} ${call.arguments}` : String(answered.content),
  };
}

const folder = join("adapters", name);
if (!isOfShipped()) await ship(join("tools/recipes/out", name), folder);
const [first = "", second] = known.tested.commands;
const base = second === undefined ? null : await evaluate(first);
const adapted = await evaluate(second ?? first);
const [before, after] = [base && metricsOf(base), metricsOf(adapted)];
const measured = { rows: adapted.rows, base_metrics: before, metrics: after, samples: await samplesOf() };
await writeCard(folder, known, measured);
console.log(name, before, after);
