/**
 * Acts in a world by what a server answers, and prints how long the pole stayed up: 500 steps are the whole time.
 *
 *     npx lorikeet serve models/policy
 *     node dist/tools/recipes/bases/act.js --world reversed-motors
 *     node dist/tools/recipes/bases/act.js --world reversed-motors --model reversed-motors
 */

import { parseArgs } from "node:util";
import { longestEpisode, meanLength, playEpisodes, worlds } from "./cart-pole.js";
import { connectPolicy } from "./policy-client.js";
import { likeliest } from "./policy-play.js";

async function act(): Promise<void> {
  const { values } = parseArgs({
    options: {
      url: { type: "string", default: "http://127.0.0.1:8080" },
      model: { type: "string", default: "policy" },
      world: { type: "string", default: "standard" },
      episodes: { type: "string", default: "20" },
    },
  });
  const world = Object.hasOwn(worlds, values.world) ? worlds[values.world] : undefined;
  if (!world) throw new Error(`--world is ${values.world}; allowed: ${Object.keys(worlds).join(", ")}.`);
  const count = Number(values.episodes);
  if (!Number.isInteger(count) || count < 1)
    throw new Error(`--episodes is ${values.episodes}; a whole number from 1 is allowed.`);
  await using client = await connectPolicy(values.url);
  const episodes = await playEpisodes(world, likeliest(client, values.model), count, 99);
  const seconds = meanLength(episodes) / 50;
  console.log(
    `${values.model} in the world ${values.world}: ${meanLength(episodes).toFixed(1)} of ${longestEpisode} steps (${seconds.toFixed(1)} s)`,
  );
}

await act().catch((error: unknown) => {
  console.error(`act: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
