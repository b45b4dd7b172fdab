/** The command that trains a run's result again. */
import type { RunRecord } from "../files/record.js";
import { trainDefaults } from "../settings.js";
import type { CardFacts } from "./facts.js";
import { quoted, shownPath } from "./text.js";

/** Settings that do not apply when every weight is trained. */
const ofAdapters: readonly string[] = [
  ...["loraR", "loraAlpha", "loraDropout", "useRslora", "useDora", "loraplusLrRatio"],
  ...["targetModules", "saveDtype"],
];

/** Longer lines of a command are broken. */
const mostCharacters = 76;

/** With the options that are not the defaults, and the digest of the data, so that other data is refused. */
export function trainCommand(
  { model, data, outputDir, initFrom }: Pick<CardFacts, "model" | "data" | "outputDir" | "initFrom">,
  { settings, data: { digest } }: Pick<RunRecord, "settings"> & { readonly data: Pick<RunRecord["data"], "digest"> },
): string {
  const isTold = ([name, value]: [string, unknown]): boolean => {
    if (value === null || value === false || (settings.method === "full" && ofAdapters.includes(name))) return false;
    if (name === "epochs" && settings.maxSteps !== null) return false;
    if (name === "beta" && settings.method !== "dpo") return false;
    return String(value) !== String(trainDefaults[name as keyof typeof trainDefaults]);
  };
  const words = [
    "npx lorikeet train",
    ...Object.entries({ model, data, outputDir, initFrom }).flatMap(([name, path]) =>
      path === null ? [] : [`--${optionOf(name)} ${quoted(shownPath(path))}`],
    ),
    ...Object.entries(settings)
      .filter(isTold)
      .map(([name, value]) => (name === "maxTimeMs" ? `--max-time ${timeOf(Number(value))}` : flagOf(name, value))),
    `--data-digest ${digest}`,
  ];
  const lines = [""];
  for (const word of words) {
    const line = lines.at(-1) ?? "";
    if (line !== "" && line.length + word.length > mostCharacters) lines.push(`  ${word}`);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.join(" \\\n");
}

const units = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "m"],
  [1000, "s"],
] as const;

/** A number of milliseconds, in the largest unit that states it exactly. */
function timeOf(ms: number): string {
  const [size, unit] = units.find(([each]) => ms % each === 0) ?? [1, "ms"];
  return `${ms / size}${unit}`;
}

const optionOf = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

function flagOf(name: string, value: unknown): string {
  if (value === true) return `--${optionOf(name)}`;
  const text = Array.isArray(value) ? value.join() : String(value).replaceAll("\n", "\\n");
  return `--${optionOf(name)} ${quoted(text)}`;
}
