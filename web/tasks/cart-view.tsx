/** CartPole in the page: the base and the adapter that is chosen each balance a pole, while the motors change for both. */
import { useRef, useState } from "preact/hooks";
import { CheckField } from "../parts/check-field.js";
import { Fault } from "../parts/fault.js";
import { Cart } from "./cart.js";
import type { Game } from "./episode.js";
import { type LongestTimes, useOutcomes } from "./outcomes.js";
import { change, settings } from "./settings.js";
import { type Player, secondsOf, verdictOf } from "./verdict.js";

const nudge = 0.6;

interface CartViewProps {
  readonly base: string;
  /** The policies that play: the base, or the base and an adapter. */
  readonly models: readonly string[];
  /** Adapters that could. */
  readonly others: readonly string[];
}

export function CartView({ base, models, others }: CartViewProps) {
  const { isReversed } = settings.value;
  const [isRunning, setRunning] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const { outcomes, longest, note } = useOutcomes(isReversed);
  const { join, push } = useGames();
  const [adapter] = models.filter((model) => model !== base);
  const playerOf = (model: string): Player => ({ model, outcome: outcomes.get(model) ?? null });
  const situation = {
    isRunning,
    isReversed,
    base: playerOf(base),
    adapter: adapter === undefined ? null : playerOf(adapter),
    others,
  };
  return (
    <div class="cart">
      <p>
        50 times a second a policy sees how cart and pole move, and pushes the cart left or right.{" "}
        <b>Reversed motors</b> push the opposite way.
      </p>
      <div class="toolbar">
        <button
          type="button"
          class="primary"
          onClick={() => {
            setFault(null);
            setRunning(!isRunning);
          }}
        >
          {isRunning ? "Stop" : "Play"}
        </button>
        <CheckField
          label="Reversed motors"
          isChecked={isReversed}
          onChange={(isChecked) => change({ isReversed: isChecked })}
        />
      </div>
      <div class="carts">
        {models.map((model) => (
          <Cart
            key={model}
            model={model}
            isBase={model === base}
            isRunning={isRunning}
            isReversed={isReversed}
            join={join}
            onEvent={note}
            onFault={(fault) => {
              setFault(fault);
              setRunning(false);
            }}
          />
        ))}
      </div>
      <Fault text={fault} />
      <p class="verdict" role="status">
        {verdictOf(situation)}
      </p>
      <div class="toolbar">
        <button type="button" disabled={!isRunning} onClick={() => push(-nudge)}>
          Nudge left
        </button>
        <button type="button" disabled={!isRunning} onClick={() => push(nudge)}>
          Nudge right
        </button>
      </div>
      {longest.size > 0 ? <Longest times={longest} base={base} /> : null}
    </div>
  );
}

/** Pushes the carts of all games that have joined. */
function useGames() {
  const games = useRef(new Set<Game>());
  const join = (game: Game): (() => void) => {
    games.current.add(game);
    return () => games.current.delete(game);
  };
  const push = (velocity: number): void => {
    for (const game of games.current) game.nudge(velocity);
  };
  return { join, push };
}

interface LongestProps {
  readonly times: ReadonlyMap<string, LongestTimes>;
  readonly base: string;
}

function Longest({ times, base }: LongestProps) {
  const baseFirst = [...times].sort(([a], [b]) => Number(b === base) - Number(a === base));
  const shown = (steps: number): string => (steps === 0 ? "" : secondsOf(steps));
  return (
    <table class="longest">
      <thead>
        <tr>
          <th scope="col">Longest time upright</th>
          <th scope="col">motors as they are</th>
          <th scope="col">reversed motors</th>
        </tr>
      </thead>
      <tbody>
        {baseFirst.map(([model, [plain, reversed]]) => (
          <tr key={model}>
            <th scope="row">{model}</th>
            <td>{shown(plain)}</td>
            <td>{shown(reversed)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
