/** CartPole in the page: the policy plays over the WebSocket, and its adapter and the motors change while it does. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { noteFailure, socket } from "../session.js";
import { type CartState, observationOf, stepSeconds, trackEnd } from "./cart-pole.js";
import { type Ended, Game } from "./episode.js";

/** Units of the picture in a metre. */
const metre = 100;
/** Redraws in a second for readers who want little motion. */
const calmMs = 1_000;
const nudge = 0.6;

export function CartView({ model }: { readonly model: string }) {
  const [isRunning, setRunning] = useState(false);
  const [isReversed, setReversed] = useState(false);
  const [ended, setEnded] = useState<Ended | null>(null);
  const [longest, setLongest] = useState<ReadonlyMap<string, number>>(new Map());
  const [fault, setFault] = useState<string | null>(null);
  const picture = useRef<SVGSVGElement>(null);
  const now = useRef({ model, isReversed });
  now.current = { model, isReversed };
  const game = useRef<Game | null>(null);
  // Before the browser paints: no one presses a Play without a game.
  useLayoutEffect(() => {
    const draw = drawer(picture);
    const playing = new Game({
      choose: async (state) => {
        const input = { name: "observation", datatype: "FP32", shape: [1, 4], data: observationOf(state) };
        const outputs = await socket.infer({ model: now.current.model, inputs: [input] });
        const [left = 0, right = 0] = outputs.find(({ name }) => name === "logits")?.data ?? [];
        return right > left ? "right" : "left";
      },
      isReversed: () => now.current.isReversed,
      model: () => now.current.model,
      stepped: draw,
      ended: (end) => {
        setEnded(end);
        const player = playerOf(end.model, end.isReversed);
        setLongest((before) => new Map(before).set(player, Math.max(end.steps, before.get(player) ?? 0)));
      },
      failed: (error) => {
        setFault(noteFailure(error));
        setRunning(false);
      },
    });
    game.current = playing;
    return () => playing.stop();
  }, []);
  // What was said of one policy does not stand under another.
  useEffect(() => setEnded(null), [model, isReversed]);
  const start = (): void => {
    setFault(null);
    setRunning(true);
    game.current?.start();
  };
  const stop = (): void => {
    setRunning(false);
    game.current?.stop();
  };
  return (
    <div class="cart">
      <p>
        Keep the pole upright for 10 seconds: 50 times a second the policy sees how the cart and the pole move, and
        pushes the cart left or right. Reverse the motors, and choose another policy, while it plays.
      </p>
      <svg
        ref={picture}
        viewBox="-260 -125 520 160"
        role="img"
        aria-label="A pole on a cart, which the policy pushes left or right"
      >
        <line class="track" x1={-metre * trackEnd} x2={metre * trackEnd} y1={21} y2={21} />
        <g class="moving">
          <rect class="body" x={-25} y={-10} width={50} height={22} rx={5} />
          <circle class="wheel" cx={-15} cy={15} r={6} />
          <circle class="wheel" cx={15} cy={15} r={6} />
          <line class="pole" x1={0} x2={0} y1={-5} y2={-5 - metre} />
        </g>
        <text class="seconds" x={250} y={-100} text-anchor="end" />
      </svg>
      <div class="toolbar">
        <button type="button" class="primary" onClick={isRunning ? stop : start}>
          {isRunning ? "Stop" : "Play"}
        </button>
        <label class="check">
          <input
            type="checkbox"
            checked={isReversed}
            onChange={({ currentTarget }) => setReversed(currentTarget.checked)}
          />
          Reversed motors
        </label>
        <button type="button" disabled={!isRunning} onClick={() => game.current?.nudge(-nudge)}>
          Nudge left
        </button>
        <button type="button" disabled={!isRunning} onClick={() => game.current?.nudge(nudge)}>
          Nudge right
        </button>
      </div>
      {fault === null ? null : (
        <p class="fault" role="alert">
          {fault}
        </p>
      )}
      <p class="muted" role="status">
        {ended === null ? (isRunning ? `${model} plays.` : "Press Play.") : sentenceOf(ended)}
      </p>
      {longest.size > 0 ? (
        <dl class="longest" aria-label="Longest time that each held the pole">
          {[...longest].map(([player, steps]) => (
            <div key={player}>
              <dt>{player}</dt>
              <dd>{secondsOf(steps)}</dd>
            </div>
          ))}
        </dl>
      ) : null}
    </div>
  );
}

const secondsOf = (steps: number): string => `${(steps * stepSeconds).toFixed(1)} s`;
const playerOf = (model: string, isReversed: boolean): string => (isReversed ? `${model} with reversed motors` : model);

function sentenceOf({ steps, fell, model }: Ended): string {
  const seconds = secondsOf(steps);
  return fell ? `${model} lost the pole after ${seconds}.` : `${model} held the pole for ${seconds}, the whole time.`;
}

/** Moves the picture's parts. With reduced motion it shows a state a second. */
function drawer(picture: { readonly current: SVGSVGElement | null }) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let drawnAt = Number.NEGATIVE_INFINITY;
  return ({ position, angle }: CartState, steps: number): void => {
    const time = performance.now();
    if (calm.matches && steps > 0 && time < drawnAt + calmMs) return;
    drawnAt = time;
    const part = (name: string): Element | null => picture.current?.querySelector(name) ?? null;
    part(".moving")?.setAttribute("transform", `translate(${metre * position})`);
    part(".pole")?.setAttribute("transform", `rotate(${(180 * angle) / Math.PI} 0 -5)`);
    const text = part(".seconds");
    if (text) text.textContent = `${(steps * stepSeconds).toFixed(1)} s`;
  };
}
