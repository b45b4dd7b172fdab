/**
 * Trains the detector of models/scenes on synthetic pictures of digits, and its adapters on 300 pictures in another style each. The backbone
 * learns first what digits look like, as a classifier of patches. Then measures them on pictures of digits that no run has seen.
 *
 *     npm run build && node dist/tools/recipes/bases/scenes.js
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Draws } from "../../../src/train/random.js";
import { readMnist, writeDigits } from "./digits-data.js";
import { lorikeet, pictureOptions } from "./lorikeet.js";
import { readWeights, writePictureModel } from "./network.js";
import { detectorNetwork, patchNetwork } from "./networks.js";
import { patchesOf, patchSide, type Scene, type Style, sceneOf, side, writeScenes } from "./scenes-data.js";
import { openCard, ship } from "./shipped.js";

const home = "tools/recipes/out/scenes";
const name = "scenes";

const mnist = await readMnist();
const [held, known] = [mnist.slice(0, 1000), mnist.slice(1000)];
const training = (style: Style, count: number, seed = 1): Scene[] =>
  Array.from({ length: count }, (_, i) => sceneOf(known, style, seed, i));
const unseen = (style: Style): Scene[] => Array.from({ length: 500 }, (_, i) => sceneOf(held, style, 2, i));
/** Validation only draws a curve: the last weights are kept. */
const splits = (style: Style, train: readonly Scene[]): Readonly<Record<string, readonly Scene[]>> => ({
  train,
  valid: training(style, 100, 3),
  test: unseen(style),
});

/** The average precision on the unseen pictures of a style, at an overlap of one half. */
async function precision(style: Style, options: Readonly<Record<string, string>>): Promise<string> {
  const data = { "--data": join(home, style), "--max-eval-samples": 500, "--threads": 1 };
  const printed = await lorikeet(["eval"], { "--model": base, ...data, ...options, "--json": true });
  const { metrics }: { metrics: { ap50: number } } = JSON.parse(printed);
  return metrics.ap50.toFixed(3);
}

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

const base = join(home, name);
const detector = { architectures: ["YolosForObjectDetection"], model_type: "yolos" };
const network = detectorNetwork(1, labels.length, await readWeights(join(backbone, "model.onnx")));
await writePictureModel(initial(name), network, { config: detector, labels, side });
await writeScenes(join(home, "bright"), splits("bright", bright));
await lorikeet(["train"], {
  ...{ "--model": initial(name), "--data": join(home, "bright"), "--output-dir": base },
  ...{ ...pictureOptions, "--method": "full", "--batch-size": 16, "--epochs": 3, "--learning-rate": 0.002 },
});
const shipped = join(home, "shipped", name);
await ship(base, shipped);
const rows = [`| bright digits, as it learned | ${await precision("bright", {})} | |`];
const summaries = {
  "dark-on-light": "Finds digits in dark ink on light paper.",
  outlines: "Finds digits of which only the outlines are drawn.",
} as const;
for (const style of ["dark-on-light", "outlines"] as const) {
  const run = join(home, "runs", style);
  await writeScenes(join(home, style), splits(style, training(style, 300)));
  await lorikeet(["train"], {
    ...{ "--model": base, "--data": join(home, style), "--output-dir": run },
    ...{
      ...pictureOptions,
      "--batch-size": 16,
      "--epochs": 40,
      "--learning-rate": 0.005,
      "--lora-r": 8,
      "--lora-alpha": 16,
    },
  });
  const adapter = join(shipped, "adapters", style);
  await ship(run, adapter);
  const [before, after] = [await precision(style, {}), await precision(style, { "--adapter": run })];
  const opening = `${summaries[style]} AP50 on 500 scenes with digits that no run has seen: ${after}; without it ${before}.`;
  await openCard(adapter, name, opening);
  rows.push(`| \`${style}\` | ${before} | ${after} |`);
}
const figures = ["| AP50 on 500 unseen scenes | base | with the adapter |", "| --- | --- | --- |", ...rows].join("\n");
await openCard(
  shipped,
  name,
  `Finds handwritten digits in scenes, and with its adapters those drawn in other styles.\n\n${figures}`,
);
console.log(figures);
