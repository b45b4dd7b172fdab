/**
 * CartPole, a pole on a cart that is pushed left or right: the equations of Barto, Sutton and Anderson (1983) as gymnasium's CartPole-v1 steps
 * them, by Euler's method. A world may differ from the standard one. Many carts run side by side.
 */
import { Draws } from "../../../src/train/random.js";

export interface World {
  /** Newtons of a push to the right; negative: the motors are reversed. */
  readonly force: number;
  /** A constant force on the cart, in newtons. */
  readonly wind: number;
  /** Half the pole's length, in metres. */
  readonly poleLength: number;
  /** Kilograms. */
  readonly poleMass: number;
  readonly gravity: number;
}

export const standardWorld: World = { force: 10, wind: 0, poleLength: 0.5, poleMass: 0.1, gravity: 9.8 };

export const worlds: Readonly<Record<string, World>> = {
  standard: standardWorld,
  "reversed-motors": { ...standardWorld, force: -10 },
};

/** Position, velocity, angle, angular velocity. */
export type Observation = readonly [number, number, number, number];

export const longestEpisode = 500;
const cartMass = 1;
const seconds = 0.02;
const farthest = 2.4;
const steepest = (12 * Math.PI) / 180;

export function startState(draws: Draws): Observation {
  const small = (): number => -0.05 + 0.1 * draws.next();
  return [small(), small(), small(), small()];
}

/** The state after pushing left (0) or right (1), in float64. */
export function step([x, v, angle, omega]: Observation, action: number, world: World): Observation {
  const { force, wind, poleLength, poleMass, gravity } = world;
  const push = (action === 1 ? force : -force) + wind;
  const mass = cartMass + poleMass;
  const moment = poleMass * poleLength;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const shared = (push + moment * omega ** 2 * sin) / mass;
  const turn = (gravity * sin - cos * shared) / (poleLength * (4 / 3 - (poleMass * cos ** 2) / mass));
  const pull = shared - (moment * turn * cos) / mass;
  return [x + seconds * v, v + seconds * pull, angle + seconds * omega, omega + seconds * turn];
}

/** Whether the cart has left the track or the pole leans too far. */
export const hasFallen = ([x, , angle]: Observation): boolean => Math.abs(x) > farthest || Math.abs(angle) > steepest;

export interface Episode {
  readonly observations: readonly Observation[];
  readonly actions: readonly number[];
  /** False if the time ran out instead. */
  readonly fell: boolean;
}

/** Chooses an action for each of several carts. */
export type Act = (observations: readonly Observation[]) => Promise<readonly number[]>;

/** Runs `count` episodes side by side, from starts that `seed` draws. */
export async function playEpisodes(world: World, act: Act, count: number, seed: number): Promise<Episode[]> {
  const carts = Array.from({ length: count }, (_, i) => {
    const state = startState(new Draws(seed, i));
    return { state, observations: [] as Observation[], actions: [] as number[], fell: false };
  });
  for (let time = 0; time < longestEpisode; time++) {
    const running = carts.filter(({ fell }) => !fell);
    if (running.length === 0) break;
    const actions = await act(running.map(({ state }) => state));
    for (const [i, cart] of running.entries()) {
      const action = actions[i] ?? 0;
      cart.observations.push(cart.state);
      cart.actions.push(action);
      cart.state = step(cart.state, action, world);
      cart.fell = hasFallen(cart.state);
    }
  }
  return carts;
}

export const meanLength = (episodes: readonly Episode[]): number =>
  episodes.reduce((sum, { actions }) => sum + actions.length, 0) / episodes.length;
