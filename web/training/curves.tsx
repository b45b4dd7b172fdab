/** The losses and the learning rates of one or two jobs, step by step, on one chart each. Their numbers are text too: the last, or those of a chosen step. */
import { useState } from "preact/hooks";
import type { Job, JobEvent } from "../client/fine-tuning.js";
import { formatCount, formatNumber } from "../parts/format.js";
import { Plot } from "../parts/plot.js";
import { countScale, roundScale, type Scale } from "../parts/scale.js";

interface Curve {
  readonly name: string;
  /** Of the stylesheet. */
  readonly kind: string;
  readonly points: readonly (readonly [step: number, value: number])[];
}

export interface Run {
  readonly job: Job;
  readonly events: readonly JobEvent[];
  /** Of the stylesheet. It stays with the job. */
  readonly colour: string;
}

export function Curves({ runs }: { readonly runs: readonly Run[] }) {
  const [pointed, setPointed] = useState<number | null>(null);
  const losses = runs.flatMap(({ job, events, colour }) => [
    curveOf(`${nameOf(job)}, training loss`, colour, events, "train_loss"),
    curveOf(`${nameOf(job)}, validation loss`, `${colour} validation`, events, "valid_loss"),
  ]);
  const rates = runs.map(({ job, events, colour }) =>
    curveOf(`${nameOf(job)}, learning rate`, colour, events, "learning_rate"),
  );
  const reached = Math.max(0, ...[...losses, ...rates].flatMap(({ points }) => points.map(([step]) => step)));
  if (reached === 0) return <p class="muted">The first losses appear after the job's first steps.</p>;
  const lengths = runs.map(({ job, events }) => ({ name: nameOf(job), ...lengthOf(events) }));
  const steps = countScale(Math.max(...lengths.map(({ planned }) => planned)), 6);
  const at = pointed === null ? null : Math.round(pointed * steps.high);
  const moment = momentOf(lengths, at);
  const chart = { steps, at, moment, onPoint: setPointed };
  return (
    <figure class="curves">
      <Chart {...chart} title="Loss" curves={losses} />
      <Chart {...chart} title="Learning rate" curves={rates} isSmall />
      <p class="muted">{moment}</p>
    </figure>
  );
}

interface RunLength {
  readonly name: string;
  /** The last step that it says anything of. */
  readonly reached: number;
  readonly planned: number;
}

function lengthOf(events: readonly JobEvent[]): Pick<RunLength, "reached" | "planned"> {
  const most = (name: string): number =>
    Math.max(0, ...events.flatMap(({ data }) => (typeof data[name] === "number" ? [data[name]] : [])));
  const reached = most("step");
  return { reached, planned: Math.max(reached, most("total_steps")) };
}

/** Which step of each run is shown, in words: the chosen one, or the last. */
export function momentOf(runs: readonly RunLength[], at: number | null): string {
  const stepOf = ({ reached, planned }: RunLength): string =>
    `step ${formatCount(Math.min(at ?? reached, reached))} of ${formatCount(planned)}`;
  const begun = runs.filter(({ reached }) => reached > 0);
  return begun.map((run) => (runs.length === 1 ? stepOf(run) : `${run.name}: ${stepOf(run)}`)).join(", ");
}

interface ChartProps {
  readonly title: string;
  readonly curves: readonly Curve[];
  /** The whole planned run. */
  readonly steps: Scale;
  /** The chosen step. */
  readonly at: number | null;
  /** The step that is shown, in words. */
  readonly moment: string;
  /** Gets a place, from 0 to 1. */
  readonly onPoint: (place: number | null) => void;
  readonly isSmall?: boolean;
}

const [width, height] = [600, 200];

function Chart({ title, curves, steps, at, moment, onPoint, isSmall = false }: ChartProps) {
  const drawn = curves.filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return null;
  const values = drawn.flatMap(({ points }) => points.map(([, value]) => value));
  const scale = roundScale(Math.min(0, ...values), Math.max(...values), isSmall ? 3 : 5);
  const place = ([step, value]: readonly [number, number]): string =>
    `${((width * step) / steps.high).toFixed(1)},${(height * (1 - (value - scale.low) / (scale.high - scale.low))).toFixed(1)}`;
  const readings = drawn.map(({ name, points }) => `${name} ${formatNumber(valueAt(points, at))}`);
  return (
    <div class={isSmall ? "small" : ""}>
      <h2 class="hidden">{title}</h2>
      <p class="legend">
        {drawn.map(({ name, kind, points }) => (
          <span key={name} class={kind}>
            {name}: <b>{formatNumber(valueAt(points, at))}</b>
          </span>
        ))}
      </p>
      <Plot
        label={`${title}: a step`}
        place={at === null ? null : at / steps.high}
        step={1 / steps.high}
        reading={`${moment}: ${readings.join(", ")}`}
        axes={{ x: { title: "step", ticks: steps.ticks }, y: { title, ticks: scale.ticks } }}
        width={width}
        height={height}
        onPlace={onPoint}
      >
        {drawn.map(({ name, kind, points }) => (
          <path key={name} class={`line ${kind}`} d={`M${points.map(place).join("L")}`} />
        ))}
        {at === null ? null : <path class="pointed" d={`M${(width * at) / steps.high} 0V${height}`} />}
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
