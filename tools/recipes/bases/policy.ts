/**
 * Trains the policy of models/policy, and its adapter to reversed motors, on what a teacher would do. Then measures both by acting over the server.
 *
 *     npm run build && node dist/tools/recipes/bases/policy.js
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { meanLength, playEpisodes, standardWorld, type World, worlds } from "./cart-pole.js";
import { lorikeet } from "./lorikeet.js";
import { writeFolder } from "./network.js";
import { policyNetwork } from "./networks.js";
import { connectPolicy } from "./policy-client.js";
import { likeliest, recordTeacher } from "./policy-play.js";
import { serve } from "./server.js";
import { openCard, ship } from "./shipped.js";

const home = "tools/recipes/out/policy";
const name = "policy";

const training = {
  "--task": "reinforcement-learning",
  "--batch-size": 64,
  "--gradient-accumulation-steps": 1,
  "--validation-split": 0.1,
  "--threads": 1,
} as const;

/** Writes what the teacher does in a world. */
async function record(world: World, as: string, rows: number): Promise<string> {
  const file = join(home, `${as}.jsonl`);
  const transitions = await recordTeacher({ world, rows, episodes: 100, seed: 1 });
  await writeFile(file, transitions.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return file;
}

await rm(home, { recursive: true, force: true });
await mkdir(home, { recursive: true });
const initial = join(home, "initial", name);
await writeFolder(initial, { "config.json": { model_type: "policy" } });
await policyNetwork(1).write(join(initial, "model.onnx"));
const base = join(home, name);
await lorikeet(["train"], {
  ...{ ...training, "--model": initial, "--data": await record(standardWorld, "standard", 8000) },
  ...{ "--output-dir": base, "--method": "full", "--epochs": 4, "--learning-rate": 0.003 },
});
const adapters = join(home, "adapters");
/** What each adapter does, in its card's first sentence. */
const openings: Readonly<Record<string, string>> = {
  "reversed-motors": "Balances the pole when the cart's motors are reversed.",
};
const changed = Object.entries(worlds).filter(([, world]) => world !== standardWorld);
for (const [where, world] of changed) {
  const run = join(home, "runs", where);
  await lorikeet(["train"], {
    ...{ ...training, "--model": base, "--data": await record(world, where, 2000), "--output-dir": run },
    ...{ "--epochs": 4, "--learning-rate": 0.01, "--lora-r": 4, "--lora-alpha": 8, "--modules-to-save": "actor" },
  });
  await ship(run, join(adapters, where));
  await openCard(join(adapters, where), name, openings[where] ?? where);
}
await using server = await serve(base, adapters);
await using client = await connectPolicy(server.url);
const steps = async (model: string, world: World): Promise<string> =>
  meanLength(await playEpisodes(world, likeliest(client, model), 100, 99)).toFixed(1);
console.log(`standard: ${name} ${await steps(name, standardWorld)} of 500 steps`);
for (const [where, world] of changed) {
  console.log(`${where}: ${name} ${await steps(name, world)}, with the adapter ${await steps(where, world)} steps`);
}
