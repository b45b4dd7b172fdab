/**
 * Trains the detector of models/scenes on synthetic pictures of digits, and its adapters on 300 pictures in another style each. The backbone
 * learns first what digits look like, as a classifier of patches. Then measures them on pictures of digits that no run has seen.
 *
 *     npm run build && node dist/tools/recipes/bases/scenes.js
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { TestRecord } from "../../../src/train/files/record.js";
import { Draws } from "../../../src/train/random.js";
import { shippedBases } from "../cards/bases.js";
import { writeCard } from "../cards/card.js";
import { readMnist, writeDigits } from "./digits-data.js";
import { sceneCandidates, writeExample } from "./example-picture.js";
import { lorikeet, pictureOptions } from "./lorikeet.js";
import { readWeights, writePictureModel } from "./network.js";
import { detectorNetwork, patchNetwork } from "./networks.js";
import { patchesOf, patchSide, type Scene, type Style, sceneOf, side, writeScenes } from "./scenes-data.js";
import { serve } from "./server.js";
import { isOfShipped, ship } from "./shipped.js";

const home = "tools/recipes/out/scenes";
const name = "scenes";

const mnist = await readMnist();
const [held, known] = [mnist.slice(0, 1000), mnist.slice(1000)];
const training = (style: Style, count: number, seed = 1): Scene[] =>
  Array.from({ length: count }, (_, i) => sceneOf(known, style, seed, i));
const unseenScenes = 500;
const unseen = (style: Style): Scene[] => Array.from({ length: unseenScenes }, (_, i) => sceneOf(held, style, 2, i));
/** Validation only draws a curve: the last weights are kept. */
const splits = (style: Style, train: readonly Scene[]): Readonly<Record<string, readonly Scene[]>> => ({
  train,
  valid: training(style, 100, 3),
  test: unseen(style),
});

/** The average precision on the unseen pictures of a style, at an overlap of one half. */
async function precision(style: Style, options: Readonly<Record<string, string>>): Promise<number> {
  const folder = join(home, "tested", style);
  await writeScenes(folder, { test: unseen(style) });
  const data = { "--data": folder, "--max-eval-samples": unseenScenes, "--threads": 1 };
  const printed = await lorikeet(["eval"], { "--model": shipped, ...data, ...options, "--json": true });
  const { metrics }: { metrics: { ap50: number } } = JSON.parse(printed);
  return metrics.ap50;
}

const base = join(home, name);
const shipped = isOfShipped() ? join("models", name) : join(home, "shipped", name);
const styles = ["dark-on-light", "outlines"] as const;

async function trainAll(): Promise<void> {
  await rm(home, { recursive: true, force: true });
  await mkdir(home, { recursive: true });
  const bright = training("bright", 8000);
  const initial = (as: string): string => join(home, "initial", as);
  const labels = Array.from({ length: 10 }, (_, digit) => String(digit));

  const backbone = join(home, "backbone");
  const patches = bright.flatMap((scene, i) => patchesOf(scene, new Draws(3, i)));
  await writeDigits(join(home, "patches"), { train: patches });
  const classifier = { architectures: ["ResNetForImageClassification"], model_type: "resnet" };
  await writePictureModel(initial("backbone"), patchNetwork(1), { config: classifier, labels, side: patchSide });
  await lorikeet(["train"], {
    ...{ "--model": initial("backbone"), "--data": join(home, "patches"), "--output-dir": backbone },
    ...{ ...pictureOptions, "--method": "full", "--batch-size": 32, "--epochs": 3, "--learning-rate": 0.004 },
  });

  const detector = { architectures: ["YolosForObjectDetection"], model_type: "yolos" };
  const network = detectorNetwork(1, labels.length, await readWeights(join(backbone, "model.onnx")));
  await writePictureModel(initial(name), network, { config: detector, labels, side });
  await writeScenes(join(home, "bright"), splits("bright", bright));
  await lorikeet(["train"], {
    ...{ "--model": initial(name), "--data": join(home, "bright"), "--output-dir": base },
    ...{ ...pictureOptions, "--method": "full", "--batch-size": 16, "--epochs": 3, "--learning-rate": 0.002 },
  });

  await ship(base, shipped);
  for (const style of styles) {
    const run = join(home, "runs", style);
    await writeScenes(join(home, style), splits(style, training(style, 300)));
    await lorikeet(["train"], {
      ...{ "--model": base, "--data": join(home, style), "--output-dir": run },
      ...{ ...pictureOptions, "--batch-size": 16, "--epochs": 40, "--learning-rate": 0.005 },
      ...{ "--lora-r": 8, "--lora-alpha": 16 },
    });
    await ship(run, join(shipped, "adapters", style));
  }
}

if (!isOfShipped()) await trainAll();
const titles = { "dark-on-light": "Dark digits on light paper", outlines: "Digits as outlines" } as const;
const cards = shippedBases[name];
const rows = { rows: unseenScenes, samples: [] };
const tests: Record<string, TestRecord> = {};
await using server = await serve(shipped, join(home, "no-adapters"));
for (const style of styles) {
  const folder = join(shipped, "adapters", style);
  const figures = {
    base_metrics: { ap50: await precision(style, {}) },
    metrics: { ap50: await precision(style, { "--adapter": folder }) },
  };
  const candidates = await sceneCandidates(titles[style], style);
  const example = await writeExample(server, { base: name, model: style, folder }, candidates);
  tests[style] = await writeCard(folder, cards.adapters[style], { ...rows, ...figures, examples: [example] });
  console.log(style, figures);
}
const own = { ap50: await precision("bright", {}) };
const bright = await sceneCandidates("Bright digits", "bright");
const example = await writeExample(server, { model: name, folder: shipped }, bright);
await writeCard(shipped, cards.base, { ...rows, base_metrics: null, metrics: own, examples: [example] }, tests);
console.log(name, own);
