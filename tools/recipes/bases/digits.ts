/**
 * Trains a classifier of digits and its adapters, each on 300 digits drawn in another way, and measures them on digits that no run has seen.
 *
 *     npm run build && node dist/tools/recipes/bases/digits.js
 *     npm run build && node dist/tools/recipes/bases/digits.js digits-efficientnet
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Digit, negative, quarterTurn, readMnist, readUci, side, writeDigits } from "./digits-data.js";
import { lorikeet, pictureOptions } from "./lorikeet.js";
import { writePictureModel } from "./network.js";
import { efficientNetwork, residualNetwork } from "./networks.js";
import { greyPng } from "./png.js";
import { serve } from "./server.js";
import { openCard, ship } from "./shipped.js";

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

const name = process.argv[2] ?? "digits";
if (!(name === "digits" || name === "digits-efficientnet")) throw new Error(`There is no recipe ${name}.`);
const recipe = recipes[name];
const home = join("tools/recipes/out", name);

interface Hand {
  /** What its adapter does. */
  readonly summary: string;
  readonly train: readonly Digit[];
  readonly test: readonly Digit[];
}

const mnist = await readMnist();
const [held, learned] = [mnist.slice(0, 1000), mnist.slice(1000)];
const uci = await readUci("tools/recipes/bases/uci-digits.csv.gz");
const few = learned.slice(0, 300);
const hands: Readonly<Record<string, Hand>> = {
  "another-hand": {
    summary: "Reads digits by 13 other writers, scanned at 8 x 8 pixels.",
    ...{ train: uci.slice(0, 300), test: uci.slice(300, 1300) },
  },
  negative: {
    summary: "Reads digits in dark ink on light paper.",
    ...{ train: few.map(negative), test: held.map(negative) },
  },
  "quarter-turn": {
    summary: "Reads digits turned by a quarter.",
    ...{ train: few.map(quarterTurn), test: held.map(quarterTurn) },
  },
};

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
const shipped = join(home, "shipped", name);
await ship(base, shipped);
const adapters = join(shipped, "adapters");
for (const [hand, { train }] of Object.entries(hands)) {
  const adapter = `${hand}${recipe.suffix}`;
  await writeDigits(join(home, hand), { train });
  await lorikeet(["train"], {
    ...{ "--model": base, "--data": join(home, hand), "--output-dir": join(home, "runs", adapter) },
    ...{ ...pictureOptions, ...recipe.adapter },
  });
  await ship(join(home, "runs", adapter), join(adapters, adapter));
}

/** The share of right first labels in percent, over HTTP. */
async function accuracy(url: string, model: string, digits: readonly Digit[]): Promise<string> {
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
  return `${((100 * right) / digits.length).toFixed(1)} %`;
}

await using server = await serve(base, adapters);
const rows = [`| MNIST, as it learned | ${await accuracy(server.url, name, held)} | |`];
for (const [hand, { summary, test }] of Object.entries(hands)) {
  const adapter = `${hand}${recipe.suffix}`;
  const [before, after] = [await accuracy(server.url, name, test), await accuracy(server.url, adapter, test)];
  const opening = `${summary} Of 1,000 digits that no run has seen, ${after} are right; without it, ${before}.`;
  await openCard(join(adapters, adapter), name, opening);
  rows.push(`| \`${adapter}\` | ${before} | ${after} |`);
}
const figures = ["| right of 1,000 unseen digits | base | with the adapter |", "| --- | --- | --- |", ...rows].join(
  "\n",
);
await openCard(
  shipped,
  name,
  `Reads handwritten digits, and with its adapters those drawn in other ways.\n\n${figures}`,
);
console.log(figures);
