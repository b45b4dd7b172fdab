/**
 * Gives the shipped adapters that see pictures a picture to try them with: the first of UCI's digits, drawn as the adapter reads them, that the
 * adapter reads and its base does not.
 *
 *     npm run build && node dist/tools/recipes/bases/examples.js
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digit, negative, quarterTurn, readUci, side } from "./digits-data.js";
import { greyPng } from "./png.js";
import { type Style, sceneOf, side as sceneSide } from "./scenes-data.js";
import { type Server, serve } from "./server.js";

interface Candidate {
  readonly title: string;
  readonly png: Buffer;
  /** What is to be found, in order. */
  readonly labels: readonly string[];
}

interface Found {
  readonly label: string;
  readonly score: number;
}

const digits = (await readUci("tools/recipes/bases/uci-digits.csv.gz")).slice(300); // those before were trained on
const surely = 0.6;

const drawn = (title: string, change: (digit: Digit) => Digit): Candidate[] =>
  digits.slice(0, 200).map((digit) => {
    const { label, pixels } = change(digit);
    return { title: title.replace("#", String(label)), png: greyPng(side, side, pixels), labels: [String(label)] };
  });

const scenes = (title: string, style: Style): Candidate[] =>
  Array.from({ length: 400 }, (_, i) => {
    const { pixels, objects } = sceneOf(digits, style, 4, i);
    return { title, png: greyPng(sceneSide, sceneSide, pixels), labels: objects.map(({ label }) => label).sort() };
  }).filter(({ labels }) => labels.length > 1);

const hands = (suffix: string): Readonly<Record<string, readonly Candidate[]>> => ({
  [`another-hand${suffix}`]: drawn("A # by another hand", (digit) => digit),
  [`negative${suffix}`]: drawn("A dark # on light paper", negative),
  [`quarter-turn${suffix}`]: drawn("A # on its side", quarterTurn),
});

const bases: Readonly<Record<string, Readonly<Record<string, readonly Candidate[]>>>> = {
  digits: hands(""),
  "digits-efficientnet": hands("-efficientnet"),
  scenes: {
    "dark-on-light": scenes("Dark digits on light paper", "dark-on-light"),
    outlines: scenes("Digits as outlines", "outlines"),
  },
};

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

async function choose(server: Server, base: string, adapter: string, candidates: readonly Candidate[]) {
  for (const candidate of candidates) {
    const wanted = candidate.labels.join();
    if (sureOf(await ask(server, adapter, candidate.png)) !== wanted) continue;
    const [first] = await ask(server, base, candidate.png);
    if (first?.label !== candidate.labels[0] || candidate.labels.length > 1) return candidate;
  }
  throw new Error(`No candidate shows what ${adapter} changes.`);
}

for (const [base, adapters] of Object.entries(bases)) {
  const folder = join("models", base);
  await using server = await serve(folder, join("tools/recipes/out/no-adapters"));
  for (const [adapter, candidates] of Object.entries(adapters)) {
    const { title, png, labels } = await choose(server, base, adapter, candidates);
    const own = join(folder, "adapters", adapter);
    await writeFile(join(own, "example.png"), png);
    const path = join(own, "README.md");
    const card = (await readFile(path, "utf8")).replace(/^widget:\n(?:(?:- | {2}).*\n)*/m, "");
    const widget = `widget:\n- example_title: ${title}\n  src: example.png\n`;
    await writeFile(path, card.replace(/\n---\n/, `\n${widget}---\n`));
    console.log(`${adapter}: ${title} (${labels.join(", ")})`);
  }
}
