/**
 * What an adapter's own files say about it, for someone who looks at it: README, examples, labels, training. All of it is untrusted text of
 * the adapter's author, and none of it changes an answer.
 */
import type { FileHandle } from "node:fs/promises";
import { NotRegularFile } from "../base/files.js";
import { isObject, type Json } from "../base/json.js";
import { Faults } from "./format/faults.js";
import { chartFile, configFile, isExamplePicture, recordFile } from "./format/files.js";
import { readLabels } from "./format/labels.js";
import { splitFrontMatter, widgetEntries } from "./front-matter.js";
import { openKept } from "./store/kept-files.js";

/** What to try the adapter with: a text or a picture. */
export interface Example {
  readonly title: string | null;
  readonly text: string | null;
  /** A `data:` URL. */
  readonly picture: string | null;
  readonly sampling: ExampleSampling;
}

/** How the answer to an example should be sampled; null: as whoever asks likes. */
export interface ExampleSampling {
  readonly temperature: number | null;
  readonly topP: number | null;
  readonly maxTokens: number | null;
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

/** Of a folder that says nothing. */
export const emptyCard: AdapterCard = {
  readme: null,
  examples: [],
  labels: [],
  targetModules: [],
  training: null,
  chart: null,
};

const maxBytes = 2 ** 18;
/** Of a record's JSON. */
const maxDepth = 32;
const maxExamples = 16;
const maxExampleCharacters = 4096;
const maxExampleTokens = 100_000;
/** Of all pictures of a card. */
const maxPictureBytes = 2 ** 19;
const maxListed = 256;

/** Ends a README of which the card shows the beginning. */
const cutNote = "\n\n*The rest of this README is too long to be shown here.*\n";

/**
 * The card of an adapter's folder, or of a base's. Files that are missing, larger than a card needs or unreadable as what they claim to be are
 * left out; a long README is cut.
 */
export async function readCard(folder: string): Promise<AdapterCard> {
  const [readme, [record, config, chart]] = await Promise.all([
    readBeginning(folder, "README.md"),
    Promise.all([recordFile, configFile, chartFile].map((name) => readText(folder, name))),
  ]);
  const { matter, text } = typeof readme === "string" ? splitFrontMatter(readme) : { matter: "", text: null };
  const training = readJson(record ?? null);
  const named = stringsOf(training?.labels);
  return {
    readme: text,
    examples: await examplesOf(folder, matter),
    labels: named.length > 0 ? named : ((await readLabels(folder, null, new Faults())) ?? []),
    targetModules: stringsOf(readJson(config ?? null)?.target_modules),
    training,
    chart: chart ?? null,
  };
}

async function readText(folder: string, name: string): Promise<string | null> {
  return (await readBytes(folder, name, maxBytes))?.toString("utf8") ?? null;
}

/** All of a text, or as much of it as a card takes, with a note. null: there is none. */
async function readBeginning(folder: string, name: string): Promise<string | null> {
  return openedFile(folder, name, async (handle) => {
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(size, maxBytes)), { position: 0 });
    // Of a character that the cut divides, nothing is left.
    const text = new TextDecoder().decode(buffer.subarray(0, bytesRead), { stream: true });
    return size > maxBytes ? text + cutNote : text;
  });
}

/** null for a file that is missing, larger than `most` or not a file. */
async function readBytes(folder: string, name: string, most: number): Promise<Buffer | null> {
  return openedFile(folder, name, async (handle) =>
    (await handle.stat()).size > most ? null : await handle.readFile(),
  );
}

/** null where there is no such file. */
async function openedFile<T>(
  folder: string,
  name: string,
  read: (handle: FileHandle) => Promise<T | null>,
): Promise<T | null> {
  try {
    await using handle = await openKept(folder, name);
    return await read(handle);
  } catch (cause) {
    const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    if (isMissing || cause instanceof NotRegularFile) return null;
    throw cause;
  }
}

function readJson(text: string | null): Json | null {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    return isObject(value) && isWithinDepth(value, maxDepth) ? value : null;
  } catch {
    return null;
  }
}

/** Clients get the record as it is, and many parse JSON by recursion. */
function isWithinDepth(value: unknown, most: number): boolean {
  if (typeof value !== "object" || value === null) return true;
  return most > 0 && Object.values(value).every((each) => isWithinDepth(each, most - 1));
}

async function examplesOf(folder: string, matter: string): Promise<Example[]> {
  const examples: Example[] = [];
  let room = maxPictureBytes;
  for (const { example_title: name, text, src, parameters } of widgetEntries(matter, maxExamples)) {
    const title = typeof name === "string" ? name.slice(0, 100) : null;
    const sampling = samplingOf(parameters);
    if (typeof src === "string" && isExamplePicture(src)) {
      const bytes = await readBytes(folder, src, room);
      if (bytes === null) continue;
      room -= bytes.length;
      const url = `data:${mediaTypeOf(src)};base64,${bytes.toString("base64")}`;
      examples.push({ title, text: null, picture: url, sampling });
    } else if (typeof text === "string" && text !== "" && text.length <= maxExampleCharacters) {
      examples.push({ title, text, picture: null, sampling });
    }
  }
  return examples;
}

/** By the names of Hugging Face's pipelines. What no request could ask for is left out. */
function samplingOf(value: unknown): ExampleSampling {
  const { temperature, top_p: topP, max_new_tokens: maxTokens } = isObject(value) ? value : {};
  const within = (number: unknown, least: number, most: number): number | null =>
    typeof number === "number" && number >= least && number <= most ? number : null;
  return {
    temperature: within(temperature, 0, 2),
    topP: within(topP, 0, 1),
    maxTokens: Number.isInteger(maxTokens) ? within(maxTokens, 1, maxExampleTokens) : null,
  };
}

function mediaTypeOf(name: string): string {
  const ending = name.slice(name.lastIndexOf(".") + 1);
  return `image/${ending === "jpg" ? "jpeg" : ending}`;
}

function stringsOf(value: unknown): string[] {
  const values = Array.isArray(value) ? value : [value];
  return values.filter((each) => typeof each === "string").slice(0, maxListed);
}
