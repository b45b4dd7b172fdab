/**
 * Trains a classifier of digits and its adapters, each on 300 digits drawn in another way, measures them on digits that no run has seen, and writes
 * their cards. With --shipped it trains nothing: it measures what is in models/.
 *
 *     npm run build && node dist/tools/recipes/bases/digits.js
 *     npm run build && node dist/tools/recipes/bases/digits.js digits-efficientnet
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { TestRecord } from "../../../src/train/files/record.js";
import { shippedBases } from "../cards/bases.js";
import { writeCard } from "../cards/card.js";
import { type Digit, negative, quarterTurn, readMnist, readUci, side, writeDigits } from "./digits-data.js";
import { digitCandidates, writeExample } from "./example-picture.js";
import { lorikeet, pictureOptions } from "./lorikeet.js";
import { writePictureModel } from "./network.js";
import { efficientNetwork, residualNetwork } from "./networks.js";
import { greyPng } from "./png.js";
import { serve } from "./server.js";
import { isOfShipped, ship } from "./shipped.js";

/**
 * Of the EfficientNet's depthwise convolutions, LoRA takes the first: a rank has to be a multiple of the groups. The others have nine weights a
 * channel and are saved whole.
 */
const recipes = {
  digits: {
    network: residualNetwork,
    config: { architectures: ["ResNetForImageClassification"], model_type: "resnet" },
    suffix: "",
    base: { "--epochs": 5, "--batch-size": 32, "--learning-rate": 0.004 },
    adapter: { "--max-steps": 200, "--batch-size": 32, "--learning-rate": 0.01, "--lora-r": 8, "--lora-alpha": 16 },
  },
  "digits-efficientnet": {
    network: efficientNetwork,
    config: { architectures: ["EfficientNetForImageClassification"], model_type: "efficientnet" },
    suffix: "-efficientnet",
    base: { "--epochs": 8, "--batch-size": 32, "--learning-rate": 0.004 },
    adapter: {
      ...{ "--max-steps": 200, "--batch-size": 32, "--learning-rate": 0.01, "--lora-r": 16, "--lora-alpha": 32 },
      "--modules-to-save": ["classifier", ...[1, 2, 3].map((i) => `blocks.${i}.depthwise_conv.depthwise_conv`)].join(),
    },
  },
} as const;

const name = process.argv.slice(2).find((word) => !word.startsWith("--")) ?? "digits";
if (!(name === "digits" || name === "digits-efficientnet")) throw new Error(`There is no recipe ${name}.`);
const recipe = recipes[name];
const home = join("tools/recipes/out", name);

interface Hand {
  /** Of its example; # is the digit. */
  readonly title: string;
  /** How it draws any digit. */
  readonly change: (digit: Digit) => Digit;
  readonly train: readonly Digit[];
  readonly test: readonly Digit[];
  /** Whether what it is trained on may be shown. */
  readonly isPublic?: boolean;
}

const mnist = await readMnist();
const [held, learned] = [mnist.slice(0, 1000), mnist.slice(1000)];
const uci = await readUci("tools/recipes/bases/uci-digits.csv.gz");
const few = learned.slice(0, 300);
const hands: Readonly<Record<string, Hand>> = {
  "another-hand": {
    ...{ title: "A # by another hand", change: (digit) => digit, isPublic: true },
    ...{ train: uci.slice(0, 300), test: uci.slice(300, 1300) },
  },
  negative: {
    ...{ title: "A dark # on light paper", change: negative },
    ...{ train: few.map(negative), test: held.map(negative) },
  },
  "quarter-turn": {
    ...{ title: "A # on its side", change: quarterTurn },
    ...{ train: few.map(quarterTurn), test: held.map(quarterTurn) },
  },
};

const shipped = isOfShipped() ? join("models", name) : join(home, "shipped", name);
const adapters = join(shipped, "adapters");

async function trainAll(): Promise<void> {
  await rm(home, { recursive: true, force: true });
  await mkdir(home, { recursive: true });
  const initial = join(home, "initial", name);
  const labels = Array.from({ length: 10 }, (_, digit) => String(digit));
  await writePictureModel(initial, recipe.network(1), { config: recipe.config, labels, side });
  await writeDigits(join(home, "mnist"), { train: learned });
  const base = join(home, name);
  await lorikeet(["train"], {
    ...{ "--model": initial, "--data": join(home, "mnist"), "--output-dir": base, "--method": "full" },
    ...{ ...pictureOptions, ...recipe.base },
  });
  await ship(base, shipped);
  for (const [hand, { train }] of Object.entries(hands)) {
    const adapter = `${hand}${recipe.suffix}`;
    await writeDigits(join(home, hand), { train });
    await lorikeet(["train"], {
      ...{ "--model": base, "--data": join(home, hand), "--output-dir": join(home, "runs", adapter) },
      ...{ ...pictureOptions, ...recipe.adapter },
    });
    await ship(join(home, "runs", adapter), join(adapters, adapter));
  }
}

/** The share of right first labels, over HTTP. */
async function accuracy(url: string, model: string, digits: readonly Digit[]): Promise<number> {
  let right = 0;
  for (let start = 0; start < digits.length; start += 16) {
    const answers = digits.slice(start, start + 16).map(async ({ label, pixels }) => {
      const headers = { "content-type": "image/png" };
      const body = greyPng(side, side, pixels);
      const response = await fetch(`${url}/models/${model}`, { method: "POST", headers, body });
      const [first] = (await response.json()) as { label: string }[];
      return first?.label === String(label);
    });
    right += (await Promise.all(answers)).filter(Boolean).length;
  }
  return right / digits.length;
}

/** Pictures as a record holds them. */
const samplesOf = (digits: readonly Digit[]) =>
  digits.slice(0, 6).map(({ label, pixels }) => {
    const png = greyPng(side, side, pixels).toString("base64");
    return { input: `data:image/png;base64,${png}`, output: String(label) };
  });

if (!isOfShipped()) await trainAll();
await using server = await serve(shipped, join(home, "no-adapters"));
const own = await accuracy(server.url, name, held);
const tests: Record<string, TestRecord> = {};
for (const [hand, { title, change, train, test, isPublic }] of Object.entries(hands)) {
  const adapter = `${hand}${recipe.suffix}`;
  const folder = join(adapters, adapter);
  const [before, after] = [await accuracy(server.url, name, test), await accuracy(server.url, adapter, test)];
  const example = await writeExample(
    server,
    { base: name, model: adapter, folder },
    await digitCandidates(title, change),
  );
  const known = shippedBases[name].adapters[hand];
  if (!known) throw new Error(`Nothing is known of ${adapter}.`);
  tests[adapter] = await writeCard(folder, known, {
    ...{ rows: test.length, base_metrics: { accuracy: before }, metrics: { accuracy: after } },
    ...{ samples: isPublic ? samplesOf(train) : [], examples: [example] },
  });
  console.log(`${adapter}: ${before} right, with the adapter ${after}`);
}
const example = await writeExample(
  server,
  { model: name, folder: shipped },
  await digitCandidates("A #", (digit) => digit),
);
const measured = { rows: held.length, base_metrics: null, metrics: { accuracy: own } };
await writeCard(shipped, shippedBases[name].base, { ...measured, samples: [], examples: [example] }, tests);
console.log(`${name}: ${own} right of what it learned`);
