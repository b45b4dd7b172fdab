/** Learning rate schedules: functions of the number of steps done. */

export type Schedule = (step: number) => number;

export const constant =
  (rate: number): Schedule =>
  () =>
    rate;

/** From `rate` at the first step along a half cosine to `rate * floor` at the last. */
export function cosine(rate: number, steps: number, floor = 0): Schedule {
  return (step) => {
    const share = Math.min(step / Math.max(steps - 1, 1), 1);
    return rate * (floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * share)));
  };
}

/** From `rate` in a straight line to `rate * floor` at the last step. */
export function linear(rate: number, steps: number, floor = 0): Schedule {
  return (step) => rate * (1 - (1 - floor) * Math.min(step / Math.max(steps - 1, 1), 1));
}

/** Rises linearly over `steps` to the start of `then`, which follows. The first step already has a rate above zero. */
export function withWarmup(steps: number, then: Schedule): Schedule {
  return (step) => (step < steps ? (then(0) * (step + 1)) / (steps + 1) : then(step - steps));
}
