/**
 * Trains the policy of models/policy, and its adapter to reversed motors, on what a teacher would do. Then measures both by acting over the server.
 *
 *     npm run build && node dist/tools/recipes/bases/policy.js
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestRecord } from "../../../src/train/files/record.js";
import { shippedBases } from "../cards/bases.js";
import { writeCard } from "../cards/card.js";
import { meanLength, playEpisodes, standardWorld, type World, worlds } from "./cart-pole.js";
import { lorikeet } from "./lorikeet.js";
import { writeFolder } from "./network.js";
import { policyNetwork } from "./networks.js";
import { connectPolicy } from "./policy-client.js";
import { likeliest, recordTeacher } from "./policy-play.js";
import { serve } from "./server.js";
import { isOfShipped, ship } from "./shipped.js";

const home = "tools/recipes/out/policy";
const name = "policy";
const base = join(home, name);

const training = {
  "--task": "reinforcement-learning",
  "--batch-size": 64,
  "--gradient-accumulation-steps": 1,
  "--validation-split": 0.1,
  "--threads": 1,
} as const;

const [rowsOfBase, rowsOfAdapter] = [8000, 2000];

const transitionsOf = (world: World, rows: number) => recordTeacher({ world, rows, episodes: 100, seed: 1 });

/** Writes what the teacher does in a world. */
async function record(world: World, as: string, rows: number): Promise<string> {
  const file = join(home, `${as}.jsonl`);
  const transitions = await transitionsOf(world, rows);
  await writeFile(file, transitions.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return file;
}

const shipped = isOfShipped() ? join("models", name) : join(home, "shipped", name);
const adapters = join(shipped, "adapters");
const changed = Object.entries(worlds).filter(([, world]) => world !== standardWorld);

async function trainAll(): Promise<void> {
  await rm(home, { recursive: true, force: true });
  await mkdir(home, { recursive: true });
  const initial = join(home, "initial", name);
  await writeFolder(initial, { "config.json": { model_type: "policy" } });
  await policyNetwork(1).write(join(initial, "model.onnx"));
  await lorikeet(["train"], {
    ...{ ...training, "--model": initial, "--data": await record(standardWorld, "standard", rowsOfBase) },
    ...{ "--output-dir": base, "--method": "full", "--epochs": 4, "--learning-rate": 0.003 },
  });
  await ship(base, shipped);
  for (const [where, world] of changed) {
    const run = join(home, "runs", where);
    await lorikeet(["train"], {
      ...{ ...training, "--model": base, "--data": await record(world, where, rowsOfAdapter), "--output-dir": run },
      ...{ "--epochs": 4, "--learning-rate": 0.01, "--lora-r": 4, "--lora-alpha": 8, "--modules-to-save": "actor" },
    });
    await ship(run, join(adapters, where));
  }
}

/** Transitions in words. */
const samplesOf = async (world: World, rows: number) =>
  (await transitionsOf(world, rows)).slice(0, 4).map(({ observation, action }) => {
    const [place, speed, angle, turning] = observation.map((value) => value.toFixed(2));
    const input = `cart at ${place} m, moving ${speed} m/s; pole at ${angle} rad, turning ${turning} rad/s`;
    return { input, output: action === 1 ? "push right" : "push left" };
  });

if (!isOfShipped()) await trainAll();
await using server = await serve(shipped, join(home, "no-adapters"));
await using client = await connectPolicy(server.url);
const episodes = 100;
const steps = async (model: string, world: World): Promise<number> =>
  meanLength(await playEpisodes(world, likeliest(client, model), episodes, 99));
const tests: Record<string, TestRecord> = {};
for (const [where, world] of changed) {
  const [before, after] = [await steps(name, world), await steps(where, world)];
  const known = new Map(Object.entries(shippedBases[name].adapters)).get(where);
  if (!known) throw new Error(`Nothing is known of ${where}.`);
  tests[where] = await writeCard(join(adapters, where), known, {
    ...{ rows: episodes, base_metrics: { mean_steps: before }, metrics: { mean_steps: after } },
    samples: await samplesOf(world, rowsOfAdapter),
  });
  console.log(`${where}: ${before} steps, with the adapter ${after}`);
}
const own = { mean_steps: await steps(name, standardWorld) };
const samples = await samplesOf(standardWorld, rowsOfBase);
await writeCard(shipped, shippedBases[name].base, { rows: episodes, base_metrics: null, metrics: own, samples }, tests);
console.log(`${name}: ${own.mean_steps} of 500 steps`);
