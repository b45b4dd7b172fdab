/** The losses of one or two jobs, step by step, on one chart. */
import type { Job, JobEvent } from "../client/fine-tuning.js";
import { formatNumber } from "../parts/format.js";

interface Curve {
  readonly name: string;
  /** Of the stylesheet. */
  readonly kind: string;
  readonly points: readonly (readonly [step: number, value: number])[];
}

const [width, height] = [600, 200];

export function Curves({ runs }: { runs: readonly { readonly job: Job; readonly events: readonly JobEvent[] }[] }) {
  const curves = runs.flatMap(({ job, events }, index) => [
    curveOf(`${nameOf(job)}, loss`, `c${index}`, events, "train_loss"),
    curveOf(`${nameOf(job)}, held-out loss`, `c${index} held-out`, events, "valid_loss"),
  ]);
  const drawn = curves.filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return <p class="muted">The first losses come when the job has made its first steps.</p>;
  const values = drawn.flatMap(({ points }) => points.map(([, value]) => value));
  const last = Math.max(1, ...drawn.flatMap(({ points }) => points.map(([step]) => step)));
  const [low, high] = [Math.min(0, ...values), Math.max(...values)];
  const place = ([step, value]: readonly [number, number]): string =>
    `${((width * step) / last).toFixed(1)},${(height * (1 - (value - low) / (high - low || 1))).toFixed(1)}`;
  return (
    <figure class="curves">
      <figcaption>
        {drawn.map(({ name, kind, points }) => (
          <span key={name} class={kind}>
            {name}: <b>{formatNumber(points.at(-1)?.[1] ?? 0)}</b>
          </span>
        ))}
      </figcaption>
      <div class="plot">
        <span class="top" aria-hidden="true">
          {formatNumber(high)}
        </span>
        <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
          <path class="grid" d={`M0 0H${width}M0 ${height / 2}H${width}M0 ${height}H${width}`} />
          {drawn.map(({ name, kind, points }) => (
            <path key={name} class={`line ${kind}`} d={`M${points.map(place).join("L")}`} />
          ))}
        </svg>
      </div>
      <p class="muted">step {last}</p>
    </figure>
  );
}

export const nameOf = ({ user_provided_suffix: suffix, id }: Job): string => suffix ?? id;

function curveOf(name: string, kind: string, events: readonly JobEvent[], figure: string): Curve {
  const points = events.flatMap(({ data }) => {
    const [step, value] = [data.step, data[figure]];
    return step === undefined || value === undefined ? [] : [[step, value] as const];
  });
  return { name, kind, points };
}
