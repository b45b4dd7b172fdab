/**
 * Trains the classifier of models/digits and its adapters, each on 300 digits drawn in another way, and measures them on digits that no run has seen.
 *
 *     npm run build && node dist/tools/recipes/bases/digits.js
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Digit, negative, quarterTurn, readMnist, readUci, side, writeDigits } from "./digits-data.js";
import { lorikeet } from "./lorikeet.js";
import { writeFolder } from "./network.js";
import { residualNetwork } from "./networks.js";
import { greyPng } from "./png.js";
import { serve } from "./server.js";
import { ship } from "./shipped.js";

const home = "tools/recipes/out/digits";
const name = "digits";
const uciFile = "tools/recipes/bases/uci-digits.csv.gz";

interface Split {
  readonly train: readonly Digit[];
  readonly test: readonly Digit[];
}

const mnist = await readMnist();
const [held, known] = [mnist.slice(0, 1000), mnist.slice(1000)];
const uci = await readUci(uciFile);
const few = known.slice(0, 300);
const hands: Readonly<Record<string, Split>> = {
  "another-hand": { train: uci.slice(0, 300), test: uci.slice(300, 1300) },
  negative: { train: few.map(negative), test: held.map(negative) },
  "quarter-turn": { train: few.map(quarterTurn), test: held.map(quarterTurn) },
};

async function writeBase(folder: string): Promise<void> {
  await writeFolder(folder, {
    "config.json": {
      architectures: ["ResNetForImageClassification"],
      model_type: "resnet",
      id2label: Object.fromEntries(Array.from({ length: 10 }, (_, digit) => [digit, String(digit)])),
    },
    "preprocessor_config.json": {
      image_processor_type: "ViTImageProcessor",
      ...{ do_resize: true, size: { height: side, width: side }, resample: 2 },
      ...{ do_rescale: true, rescale_factor: 1 / 255 },
      ...{ do_normalize: true, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] },
    },
  });
  await residualNetwork(1).write(join(folder, "model.onnx"));
}

const shared = {
  "--gradient-accumulation-steps": 1,
  "--validation-split": 0,
  "--save-total-limit": 1,
  "--threads": 1,
} as const;

await rm(home, { recursive: true, force: true });
await mkdir(home, { recursive: true });
const initial = join(home, "initial", name);
await writeBase(initial);
await writeDigits(join(home, "mnist"), { train: known });
const base = join(home, name);
await lorikeet(["train"], {
  ...{ "--model": initial, "--data": join(home, "mnist"), "--output-dir": base, "--method": "full" },
  ...{ ...shared, "--max-steps": 300, "--batch-size": 48, "--learning-rate": 0.004 },
});
const adapters = join(home, "adapters");
for (const [hand, { train }] of Object.entries(hands)) {
  await writeDigits(join(home, hand), { train });
  await lorikeet(["train"], {
    ...{ "--model": base, "--data": join(home, hand), "--output-dir": join(home, "runs", hand) },
    ...{
      ...shared,
      "--max-steps": 100,
      "--batch-size": 32,
      "--learning-rate": 0.005,
      "--lora-r": 8,
      "--lora-alpha": 16,
    },
  });
  await ship(join(home, "runs", hand), join(adapters, hand));
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

await using server = await serve(base, adapters);
console.log(`MNIST: ${name} ${await accuracy(server.url, name, held)}`);
for (const [hand, { test }] of Object.entries(hands)) {
  const [before, after] = [await accuracy(server.url, name, test), await accuracy(server.url, hand, test)];
  console.log(`${hand}: ${name} ${before}, with the adapter ${after}`);
}
