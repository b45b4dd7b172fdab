/** The losses and the learning rates of one or two jobs, step by step, on one chart each. Their numbers are text too: the last, or those of a chosen step. */
import { useState } from "preact/hooks";
import type { Job, JobEvent } from "../client/fine-tuning.js";
import { formatCount, formatNumber } from "../parts/format.js";
import { Plot } from "../parts/plot.js";

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
  const moment = at === null ? `${formatCount(last)} steps` : `step ${formatCount(at)} of ${formatCount(last)}`;
  const chart = { last, at, moment, onPoint: setPointed };
  return (
    <figure class="curves">
      <Chart {...chart} title="Loss" curves={losses} />
      <Chart {...chart} title="Learning rate" curves={rates} isSmall />
      <p class="muted">{moment}</p>
    </figure>
  );
}

interface ChartProps {
  readonly title: string;
  readonly curves: readonly Curve[];
  /** The last step of all curves. */
  readonly last: number;
  /** The chosen step. */
  readonly at: number | null;
  /** The chosen step in words. */
  readonly moment: string;
  /** Gets a place, from 0 to 1. */
  readonly onPoint: (place: number | null) => void;
  readonly isSmall?: boolean;
}

const [width, height] = [600, 200];

function Chart({ title, curves, last, at, moment, onPoint, isSmall = false }: ChartProps) {
  const drawn = curves.filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return null;
  const values = drawn.flatMap(({ points }) => points.map(([, value]) => value));
  const [low, high] = [Math.min(0, ...values), Math.max(...values)];
  const place = ([step, value]: readonly [number, number]): string =>
    `${((width * step) / last).toFixed(1)},${(height * (1 - (value - low) / (high - low || 1))).toFixed(1)}`;
  const readings = drawn.map(({ name, points }) => `${name} ${formatNumber(valueAt(points, at))}`);
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
      <Plot
        label={`${title}: a step`}
        place={at === null ? null : at / last}
        step={1 / last}
        reading={`${moment}: ${readings.join(", ")}`}
        top={formatNumber(high)}
        width={width}
        height={height}
        onPlace={onPoint}
      >
        {drawn.map(({ name, kind, points }) => (
          <path key={name} class={`line ${kind}`} d={`M${points.map(place).join("L")}`} />
        ))}
        {at === null ? null : <path class="pointed" d={`M${(width * at) / last} 0V${height}`} />}
      </Plot>
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
