/**
 * CartPole, a pole on a cart that is pushed left or right: the equations of Barto, Sutton and Anderson (1983) as gymnasium's CartPole-v1 steps
 * them, by Euler's method.
 */
import type { ModelMetadata } from "../client/tensors.js";

export interface CartState {
  /** Metres from the middle of the track. */
  readonly position: number;
  readonly velocity: number;
  /** Radians from upright, to the right. */
  readonly angle: number;
  readonly turning: number;
}

export type Action = "left" | "right";

export const stepSeconds = 0.02;
export const longestEpisode = 500;
export const trackEnd = 2.4;
const steepest = (12 * Math.PI) / 180;
const gravity = 9.8;
const cartMass = 1;
const poleMass = 0.1;
/** From the cart to the pole's middle, in metres. */
const halfPole = 0.5;
const newtons = 10;

/** Somewhere near the middle, nearly upright and nearly at rest. */
export function startState(random: () => number = Math.random): CartState {
  const small = (): number => -0.05 + 0.1 * random();
  return { position: small(), velocity: small(), angle: small(), turning: small() };
}

/** The state 20 ms after a push. Reversed motors push the other way. */
export function step(
  { position, velocity, angle, turning }: CartState,
  action: Action,
  isReversed: boolean,
): CartState {
  const push = (action === "right") === isReversed ? -newtons : newtons;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const mass = cartMass + poleMass;
  const shared = (push + poleMass * halfPole * turning ** 2 * sin) / mass;
  const turn = (gravity * sin - cos * shared) / (halfPole * (4 / 3 - (poleMass * cos ** 2) / mass));
  const pull = shared - (poleMass * halfPole * turn * cos) / mass;
  return {
    position: position + stepSeconds * velocity,
    velocity: velocity + stepSeconds * pull,
    angle: angle + stepSeconds * turning,
    turning: turning + stepSeconds * turn,
  };
}

/** Whether the cart has left the track or the pole leans too far. */
export const hasFallen = ({ position, angle }: CartState): boolean =>
  Math.abs(position) > trackEnd || Math.abs(angle) > steepest;

/** As the policy sees it. */
export const observationOf = ({ position, velocity, angle, turning }: CartState): readonly number[] => [
  position,
  velocity,
  angle,
  turning,
];

/** Whether a model looks like a policy for it: four numbers of an observation in, scores of two actions out. */
export function isPolicyOfCartPole({ inputs, outputs }: ModelMetadata): boolean {
  const [input, ...others] = inputs;
  const isOf = (shape: readonly number[] | undefined, size: number): boolean =>
    shape?.length === 2 && (shape[0] === -1 || shape[0] === 1) && shape[1] === size;
  return (
    others.length === 0 &&
    input?.name === "observation" &&
    input.datatype === "FP32" &&
    isOf(input.shape, 4) &&
    isOf(outputs.find(({ name }) => name === "logits")?.shape, 2)
  );
}
