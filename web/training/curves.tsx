/** The losses and the learning rates of one or two jobs, step by step, on one chart each. Their numbers are text too, and those under the pointer. */
import { useState } from "preact/hooks";
import type { Job, JobEvent } from "../client/fine-tuning.js";
import { formatCount, formatNumber } from "../parts/format.js";

interface Curve {
  readonly name: string;
  /** Of the stylesheet. */
  readonly kind: string;
  readonly points: readonly (readonly [step: number, value: number])[];
}

export interface Run {
  readonly job: Job;
  readonly events: readonly JobEvent[];
}

export function Curves({ runs }: { readonly runs: readonly Run[] }) {
  const [pointed, setPointed] = useState<number | null>(null);
  const named = (figure: string): string => (runs.length > 1 ? `, ${figure}` : "");
  const losses = runs.flatMap(({ job, events }, index) => [
    curveOf(`${nameOf(job)}, loss`, `c${index}`, events, "train_loss"),
    curveOf(`${nameOf(job)}, held-out loss`, `c${index} held-out`, events, "valid_loss"),
  ]);
  const rates = runs.map(({ job, events }, index) =>
    curveOf(`${nameOf(job)}${named("learning rate")}`, `c${index}`, events, "learning_rate"),
  );
  const steps = [...losses, ...rates].flatMap(({ points }) => points.map(([step]) => step));
  if (steps.length === 0) return <p class="muted">The first losses come when the job has made its first steps.</p>;
  const last = Math.max(1, ...steps);
  const at = pointed === null ? null : Math.round(pointed * last);
  const chart = { last, at, onPoint: setPointed };
  return (
    <figure class="curves">
      <Plot {...chart} title="Loss" curves={losses} />
      <Plot {...chart} title="Learning rate" curves={rates} isSmall />
      <p class="muted">
        {at === null ? `${formatCount(last)} steps` : `step ${formatCount(at)} of ${formatCount(last)}`}
      </p>
    </figure>
  );
}

interface PlotProps {
  readonly title: string;
  readonly curves: readonly Curve[];
  /** The last step of all curves. */
  readonly last: number;
  /** The step under the pointer. */
  readonly at: number | null;
  /** Gets the pointer's place, from 0 to 1. */
  readonly onPoint: (place: number | null) => void;
  readonly isSmall?: boolean;
}

const [width, height] = [600, 200];

function Plot({ title, curves, last, at, onPoint, isSmall = false }: PlotProps) {
  const drawn = curves.filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return null;
  const values = drawn.flatMap(({ points }) => points.map(([, value]) => value));
  const [low, high] = [Math.min(0, ...values), Math.max(...values)];
  const place = ([step, value]: readonly [number, number]): string =>
    `${((width * step) / last).toFixed(1)},${(height * (1 - (value - low) / (high - low || 1))).toFixed(1)}`;
  const move = ({ currentTarget, clientX }: PointerEvent): void => {
    if (!(currentTarget instanceof Element)) return;
    const box = currentTarget.getBoundingClientRect();
    onPoint(Math.min(1, Math.max(0, (clientX - box.left) / box.width)));
  };
  return (
    <div class={isSmall ? "small" : ""}>
      <h3>{title}</h3>
      <p class="legend">
        {drawn.map(({ name, kind, points }) => (
          <span key={name} class={kind}>
            {name}: <b>{formatNumber(valueAt(points, at))}</b>
          </span>
        ))}
      </p>
      <div class="plot">
        <span class="top" aria-hidden="true">
          {formatNumber(high)}
        </span>
        <svg
          viewBox={`0 0 ${width} ${height}`}
          preserveAspectRatio="none"
          aria-hidden="true"
          onPointerMove={move}
          onPointerLeave={() => onPoint(null)}
        >
          <path class="grid" d={`M0 0H${width}M0 ${height / 2}H${width}M0 ${height}H${width}`} />
          {drawn.map(({ name, kind, points }) => (
            <path key={name} class={`line ${kind}`} d={`M${points.map(place).join("L")}`} />
          ))}
          {at === null ? null : <path class="pointed" d={`M${(width * at) / last} 0V${height}`} />}
        </svg>
      </div>
    </div>
  );
}

/** The value at a step, or at the last one before it that has one. */
function valueAt(points: Curve["points"], at: number | null): number {
  const found = at === null ? points.at(-1) : (points.findLast(([step]) => step <= at) ?? points[0]);
  return found?.[1] ?? 0;
}

export const nameOf = ({ user_provided_suffix: suffix, id }: Job): string => suffix ?? id;

function curveOf(name: string, kind: string, events: readonly JobEvent[], figure: string): Curve {
  const points = events.flatMap(({ data }) => {
    const [step, value] = [data.step, data[figure]];
    return typeof step === "number" && typeof value === "number" ? [[step, value] as const] : [];
  });
  return { name, kind, points };
}
