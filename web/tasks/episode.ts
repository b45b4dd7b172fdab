/** An endless game of CartPole: a policy is asked at each step, and a new episode begins after each end. */
import { type Action, type CartState, hasFallen, longestEpisode, startState, step, stepSeconds } from "./cart-pole.js";

export interface Ended {
  /** Since the episode began, or since the motors changed: what went before says nothing of these motors. */
  readonly steps: number;
  readonly fell: boolean;
  /** Whether the motors were reversed. */
  readonly isReversed: boolean;
}

export interface GameHooks {
  /** Asks the policy. */
  choose(state: CartState): Promise<Action>;
  readonly isReversed: () => boolean;
  /** `steps`: as in Ended. */
  stepped(state: CartState, steps: number): void;
  ended(ended: Ended): void;
  failed(error: unknown): void;
}

type Sleep = (ms: number) => Promise<void>;

/** How long a fallen pole is shown. */
const pauseMs = 900;

export class Game {
  readonly #hooks: GameHooks;
  readonly #sleep: Sleep;
  #state = startState();
  /** Counts starts and stops: what an earlier one began ends by itself. */
  #turn = 0;
  /** A push from outside that the next step adds to the cart's velocity. */
  #nudge = 0;

  /** `sleep`: for tests. */
  constructor(hooks: GameHooks, sleep: Sleep = sleepFor) {
    this.#hooks = hooks;
    this.#sleep = sleep;
  }

  /** Plays until `stop`, or until a question fails. */
  start(): void {
    const turn = ++this.#turn;
    const isOn = (): boolean => turn === this.#turn;
    this.#play(isOn).catch((error: unknown) => {
      if (isOn()) this.#hooks.failed(error);
    });
  }

  stop(): void {
    this.#turn++;
  }

  nudge(velocity: number): void {
    this.#nudge += velocity;
  }

  async #play(isOn: () => boolean): Promise<void> {
    while (isOn()) {
      await this.#playEpisode(isOn);
      if (isOn()) await this.#sleep(pauseMs);
    }
  }

  async #playEpisode(isOn: () => boolean): Promise<void> {
    const { choose, isReversed, stepped, ended } = this.#hooks;
    this.#state = startState();
    this.#nudge = 0;
    stepped(this.#state, 0);
    let due = performance.now();
    let wasReversed = isReversed();
    for (let steps = 1; isOn(); steps++) {
      const action = await choose(this.#state);
      // As fast as the world, or as the server answers. A page that was hidden does not catch up.
      due = Math.max(due + 1_000 * stepSeconds, performance.now() - 1_000 * stepSeconds);
      await this.#sleep(due - performance.now());
      if (!isOn()) return;
      const pushed = { ...this.#state, velocity: this.#state.velocity + this.#nudge };
      this.#nudge = 0;
      if (isReversed() !== wasReversed) {
        wasReversed = !wasReversed;
        steps = 1;
      }
      this.#state = step(pushed, action, wasReversed);
      stepped(this.#state, steps);
      const fell = hasFallen(this.#state);
      if (fell || steps === longestEpisode) return ended({ steps, fell, isReversed: wasReversed });
    }
  }
}

const sleepFor: Sleep = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
