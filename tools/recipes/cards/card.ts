/** Writes the card and the record of what is shipped: those of its run, with what its recipe knows of its data and has measured. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { modelCard } from "../../../src/train/card/card.js";
import { trainCommand } from "../../../src/train/card/command.js";
import type { CardExample, CardFacts } from "../../../src/train/card/facts.js";
import type { OriginRecord, RunRecord, TestRecord } from "../../../src/train/files/record.js";

/** What is known of a shipped adapter or base before anything is measured. `outputDir`: where it is shipped. */
export interface Shipped extends Omit<CardFacts, "examples" | "description"> {
  readonly description: string;
  /** Without them the recipe finds a picture. */
  readonly examples?: readonly CardExample[];
  readonly origin: Omit<OriginRecord, "rows">;
  /** What its test counts, and how. */
  readonly tested: Pick<TestRecord, "unit" | "commands">;
}

export interface Measured extends Pick<TestRecord, "rows" | "metrics" | "base_metrics"> {
  /** Some of what it was trained on. */
  readonly samples: OriginRecord["rows"];
  readonly examples?: readonly CardExample[];
}

/** The tests of a base's adapters by their names. */
export type Tests = Readonly<Record<string, TestRecord>>;

export async function readRunRecord(folder: string): Promise<RunRecord> {
  return JSON.parse(await readFile(join(folder, "lorikeet.json"), "utf8"));
}

/** Completes the record and the card in a folder. `tests`: of a base's adapters. Returns the record's test. */
export async function writeCard(
  folder: string,
  shipped: Shipped,
  measured: Measured,
  tests: Tests = {},
): Promise<TestRecord> {
  const { origin, tested } = shipped;
  const { samples, examples, ...figures } = measured;
  const run = await readRunRecord(folder);
  const record: RunRecord = {
    ...run,
    command: trainCommand(shipped, run),
    origin: { ...origin, rows: samples },
    test: { ...tested, ...figures },
  };
  await writeFile(join(folder, "lorikeet.json"), `${JSON.stringify(record, null, 2)}\n`);
  await writeFile(join(folder, "README.md"), renderCard(shipped, record, examples ?? [], tests));
  return { ...tested, ...figures };
}

/** `found`: the pictures that the recipe found. */
export function renderCard(shipped: Shipped, record: RunRecord, found: readonly CardExample[], tests: Tests): string {
  const { description, examples = found } = shipped;
  const figures = Object.entries(tests).map(([name, test]) => `- \`${name}\`: ${figuresOf(test)}`);
  const more = figures.length > 0 ? `\n\nIts adapters, with the base's figures first:\n\n${figures.join("\n")}` : "";
  return modelCard({ ...shipped, description: `${description}${more}`, examples }, record);
}

const percent = (share: number | undefined): string => `${(100 * (share ?? 0)).toFixed(1)} %`;

/** The figures of a test in a line, the base's first. */
function figuresOf({ rows, unit, metrics, base_metrics: base }: TestRecord): string {
  const [name = ""] = Object.keys(metrics);
  const of = `${rows.toLocaleString("en-US")} ${unit}`;
  if (name === "accuracy" || name === "exact") return `${percent(base?.[name])} → ${percent(metrics[name])} of ${of}`;
  const digits = name === "ap50" ? 3 : 1;
  const said = name.replaceAll("_", " ").replace("ap50", "AP50");
  return `${said} ${base?.[name]?.toFixed(digits)} → ${metrics[name]?.toFixed(digits)} over ${of}`;
}
