/** Finds a picture to try a model with, of UCI's digits, which may be published: of an adapter one that its base does not read. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { CardExample } from "../../../src/train/card/facts.js";
import { type Digit, readUci, side } from "./digits-data.js";
import { greyPng } from "./png.js";
import { type Style, sceneOf, side as sceneSide } from "./scenes-data.js";
import type { Server } from "./server.js";

export interface Candidate {
  readonly title: string;
  readonly png: Buffer;
  /** What is to be found, in order. */
  readonly labels: readonly string[];
}

interface Found {
  readonly label: string;
  readonly score: number;
}

const surely = 0.6;

/** Those before were trained on. */
const unseenDigits = async (): Promise<Digit[]> => (await readUci("tools/recipes/bases/uci-digits.csv.gz")).slice(300);

/** Single digits, each drawn as `change` says. `title`: with # for the digit. */
export async function digitCandidates(title: string, change: (digit: Digit) => Digit): Promise<Candidate[]> {
  return (await unseenDigits()).slice(0, 200).map((digit) => {
    const { label, pixels } = change(digit);
    return { title: title.replace("#", String(label)), png: greyPng(side, side, pixels), labels: [String(label)] };
  });
}

export async function sceneCandidates(title: string, style: Style): Promise<Candidate[]> {
  const digits = await unseenDigits();
  return Array.from({ length: 400 }, (_, i) => {
    const { pixels, objects } = sceneOf(digits, style, 4, i);
    return { title, png: greyPng(sceneSide, sceneSide, pixels), labels: objects.map(({ label }) => label).sort() };
  }).filter(({ labels }) => labels.length > 1);
}

async function ask({ url }: Server, model: string, body: Buffer): Promise<readonly Found[]> {
  const response = await fetch(`${url}/models/${model}`, {
    ...{ method: "POST", headers: { "content-type": "image/png" }, body: new Uint8Array(body) },
  });
  return (await response.json()) as Found[];
}

/** The labels that an answer is sure of. */
const sureOf = (answer: readonly Found[]): string =>
  answer
    .filter(({ score }) => score >= surely)
    .map(({ label }) => label)
    .sort()
    .join();

interface Asked {
  /** A base, or an adapter. */
  readonly model: string;
  /** Of an adapter. */
  readonly base?: string;
  readonly folder: string;
}

/** Writes the first fitting picture into the model's folder. */
export async function writeExample(
  server: Server,
  { model, base, folder }: Asked,
  candidates: readonly Candidate[],
): Promise<CardExample> {
  for (const { title, png, labels } of candidates) {
    if (sureOf(await ask(server, model, png)) !== labels.join()) continue;
    const [first] = base === undefined ? [] : await ask(server, base, png);
    if (first?.label === labels[0] && labels.length === 1) continue;
    await writeFile(join(folder, "example.png"), png);
    return { title, picture: "example.png" };
  }
  throw new Error(`No candidate shows what ${model} does.`);
}
