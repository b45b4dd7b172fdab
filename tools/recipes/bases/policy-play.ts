/** Acts by a served policy, and records what a teacher would do. */
import { Draws } from "../../../src/train/random.js";
import { type Act, type Observation, playEpisodes, type World } from "./cart-pole.js";
import type { PolicyClient } from "./policy-client.js";

/** Always the likeliest action. */
export const likeliest =
  (client: PolicyClient, model: string): Act =>
  async (observations) =>
    (await client.ask(model, observations)).map(([left, right]) => (right > left ? 1 : 0));

/** A linear controller that balances the pole in any world whose motors it knows: it pushes to where the pole leans, drifts and falls. */
export function teacher({ force }: World): (observation: Observation) => number {
  const direction = Math.sign(force);
  return ([x, v, angle, omega]) => (direction * (x + 2 * v + 30 * angle + 6 * omega) > 0 ? 1 : 0);
}

/** A transition as `lorikeet train` reads it. */
export interface Transition {
  readonly observation: Observation;
  readonly action: number;
}

export interface RecordOptions {
  readonly world: World;
  readonly episodes: number;
  readonly rows: number;
  readonly seed: number;
}

/**
 * What the teacher would do wherever episodes get to in which a third of the actions is random, as a learner's mistakes are: a sample of `rows`, in
 * random order.
 */
export async function recordTeacher({ world, episodes, rows, seed }: RecordOptions): Promise<Transition[]> {
  const draws = new Draws(seed, episodes);
  const choose = teacher(world);
  const played = await playEpisodes(
    world,
    async (observations) => observations.map((seen) => (draws.below(3) === 0 ? draws.below(2) : choose(seen))),
    episodes,
    seed,
  );
  const seen = played.flatMap(({ observations }) => observations);
  const order = new Draws(seed, episodes + 1).permutation(seen.length).subarray(0, rows);
  return Array.from(order, (i) => {
    const observation = seen[i] as Observation;
    return { observation, action: choose(observation) };
  });
}
