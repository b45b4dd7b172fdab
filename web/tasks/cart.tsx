/** A cart and its pole, balanced by one policy over the WebSocket. */
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { noteFailure, socket } from "../session.js";
import { type CartState, observationOf, trackEnd } from "./cart-pole.js";
import { type Ended, Game } from "./episode.js";
import { secondsOf } from "./verdict.js";

/** Units of the picture in a metre. */
const metre = 100;
/** Redraws in a second for readers who want little motion. */
const calmMs = 1_000;
/** After 2 s upright a policy can balance a pole. Then the time is reported twice a second. */
const heldSteps = 100;
const reportSteps = 25;

interface CartProps {
  readonly model: string;
  readonly isBase: boolean;
  readonly isRunning: boolean;
  readonly isReversed: boolean;
  /** Takes part in nudges until the function that it returns is called. */
  readonly join: (game: Game) => () => void;
  /** The pole is still upright after a while, or an episode has ended. */
  readonly onEvent: (model: string, event: Ended) => void;
  readonly onFault: (fault: string) => void;
}

export function Cart({ model, isBase, isRunning, isReversed, join, onEvent, onFault }: CartProps) {
  const picture = useRef<SVGSVGElement>(null);
  const now = useRef({ isReversed, onEvent, onFault });
  now.current = { isReversed, onEvent, onFault };
  const game = useRef<Game | null>(null);
  useLayoutEffect(() => {
    const draw = drawer(picture);
    const playing = new Game({
      choose: async (state) => {
        const input = { name: "observation", datatype: "FP32", shape: [1, 4], data: observationOf(state) };
        const outputs = await socket.infer({ model, inputs: [input] });
        const [left = 0, right = 0] = outputs.find(({ name }) => name === "logits")?.data ?? [];
        return right > left ? "right" : "left";
      },
      isReversed: () => now.current.isReversed,
      stepped: (state, steps) => {
        draw(state, steps);
        if (steps >= heldSteps && steps % reportSteps === 0) {
          now.current.onEvent(model, { steps, fell: false, isReversed: now.current.isReversed });
        }
      },
      ended: (end) => now.current.onEvent(model, end),
      failed: (error) => now.current.onFault(noteFailure(error)),
    });
    game.current = playing;
    const leave = join(playing);
    return () => {
      leave();
      playing.stop();
    };
  }, [model]);
  useEffect(() => {
    if (!isRunning) return;
    game.current?.start();
    return () => game.current?.stop();
  }, [isRunning, model]);
  return (
    <figure>
      <figcaption>
        <b>{model}</b> <span class="tag">{isBase ? "base" : "adapter"}</span>
      </figcaption>
      <svg
        ref={picture}
        viewBox="-260 -125 520 160"
        role="img"
        aria-label={`A pole on a cart, which ${model} pushes left or right`}
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
    </figure>
  );
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
    if (text) text.textContent = secondsOf(steps);
  };
}
