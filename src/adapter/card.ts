/**
 * What an adapter's own files say about it, for someone who looks at it: README, examples, labels, training. All of it is untrusted text of
 * the adapter's author, and none of it changes an answer.
 */
import { parse as parseYaml } from "yaml";
import { NotRegularFile } from "../base/files.js";
import { isObject, type Json } from "../base/json.js";
import { Faults } from "./format/faults.js";
import { chartFile, configFile, recordFile } from "./format/files.js";
import { readLabels } from "./format/labels.js";
import { openKept } from "./store/kept-files.js";

/** A prompt to try the adapter with. */
export interface Example {
  readonly title: string | null;
  readonly text: string;
}

export interface AdapterCard {
  /** Markdown without its front matter. */
  readonly readme: string | null;
  /** The `widget` of the README's front matter, as model hubs read it. */
  readonly examples: readonly Example[];
  readonly labels: readonly string[];
  /** As the config names them: names, or one pattern. */
  readonly targetModules: readonly string[];
  /** What `lorikeet train` wrote about the run; null without one. */
  readonly training: Json | null;
  /** An SVG of the run's curves. */
  readonly chart: string | null;
}

const maxBytes = 2 ** 18;
const maxFrontMatter = 2 ** 14;
const maxExamples = 16;
const maxExampleCharacters = 4096;
const maxListed = 256;

/** Files that are missing, larger than a card needs or unreadable as what they claim to be are left out. */
export async function readCard(folder: string): Promise<AdapterCard> {
  const [readme, record, config, chart] = await Promise.all(
    ["README.md", recordFile, configFile, chartFile].map((name) => readText(folder, name)),
  );
  const { matter, text } = splitFrontMatter(readme ?? null);
  const training = readJson(record ?? null);
  const named = stringsOf(training?.labels);
  return {
    readme: text,
    examples: examplesOf(matter),
    labels: named.length > 0 ? named : ((await readLabels(folder, null, new Faults())) ?? []),
    targetModules: stringsOf(readJson(config ?? null)?.target_modules),
    training,
    chart: chart ?? null,
  };
}

async function readText(folder: string, name: string): Promise<string | null> {
  try {
    await using handle = await openKept(folder, name);
    if ((await handle.stat()).size > maxBytes) return null;
    return await handle.readFile("utf8");
  } catch (cause) {
    const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    if (isMissing || cause instanceof NotRegularFile) return null;
    throw cause;
  }
}

function readJson(text: string | null): Json | null {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

/** The YAML between the first two lines of `---`, and what follows. */
function splitFrontMatter(readme: string | null): { readonly matter: string; readonly text: string | null } {
  const found = /^---\r?\n([\s\S]*?)\r?\n---\r?\n/.exec(readme ?? "");
  return found ? { matter: found[1] ?? "", text: (readme ?? "").slice(found[0].length) } : { matter: "", text: readme };
}

function examplesOf(matter: string): Example[] {
  if (matter.length > maxFrontMatter) return [];
  let value: unknown;
  try {
    value = parseYaml(matter, { maxAliasCount: 0 });
  } catch {
    return [];
  }
  const widget = isObject(value) && Array.isArray(value.widget) ? value.widget : [];
  return widget.slice(0, maxExamples).flatMap((entry: unknown) => {
    const { text, example_title: title } = isObject(entry) ? entry : {};
    if (typeof text !== "string" || text === "" || text.length > maxExampleCharacters) return [];
    return [{ title: typeof title === "string" ? title.slice(0, 100) : null, text: text }];
  });
}

function stringsOf(value: unknown): string[] {
  const values = Array.isArray(value) ? value : [value];
  return values.filter((each) => typeof each === "string").slice(0, maxListed);
}
