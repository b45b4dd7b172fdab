/** A small line chart over the last minutes. Its numbers are text too: the last ones, or those at the moment that the reader points at. */
import { useRef, useState } from "preact/hooks";
import { Plot } from "../parts/plot.js";
import { spanMs } from "./history.js";
import type { Point } from "./reading.js";
import { nextTop, ticksOf, type Unit } from "./scale.js";

export interface Line {
  readonly name: string;
  /** The most that the others can reach. */
  readonly isLimit?: boolean;
  read(point: Point): number | null;
}

export interface ChartProps {
  readonly title: string;
  /** What the numbers are, in a sentence. */
  readonly help: string;
  readonly lines: readonly Line[];
  readonly points: readonly Point[];
  readonly unit: Unit;
}

const [width, height] = [300, 80];
const shortestMs = 60_000;
/** About the time between two readings. */
const stepMs = 2_000;

export function Chart({ title, help, lines, points, unit }: ChartProps) {
  const [pointed, setPointed] = useState<number | null>(null);
  const last = points.at(-1);
  const end = last?.at ?? 0;
  const shownMs = Math.min(spanMs, Math.max(shortestMs, end - (points[0]?.at ?? end)));
  const shown = pointed === null ? last : nearest(points, end - shownMs * (1 - pointed));
  const values = points.flatMap((point) => lines.flatMap((line) => line.read(point) ?? []));
  const topBefore = useRef(0);
  const top = nextTop(topBefore.current, Math.max(0, ...values), unit);
  topBefore.current = top;
  const place = (point: Point, value: number): string => {
    const x = width * (1 - (end - point.at) / shownMs);
    return `${x.toFixed(1)},${(height * (1 - value / top)).toFixed(1)}`;
  };
  const x = shown ? width * (1 - (end - shown.at) / shownMs) : 0;
  const moment = pointed === null || !shown ? spanOf(shownMs) : agoOf(end - shown.at);
  const readings = lines.map((line) => `${line.name} ${readingAt(shown, line, unit)}`);
  return (
    <section class="chart card" aria-label={title}>
      <h2>{title}</h2>
      <p class="muted">{help}</p>
      <dl>
        {lines.map((line, index) => (
          <div key={line.name} class={`c${index} ${line.isLimit ? "limit" : ""}`}>
            <dt>{line.name}</dt>
            <dd>{readingAt(shown, line, unit)}</dd>
          </div>
        ))}
      </dl>
      <Plot
        label={`${title}: a moment`}
        place={pointed}
        step={stepMs / shownMs}
        reading={`${moment}: ${readings.join(", ")}`}
        axes={{
          x: { title: moment, ticks: [] },
          y: { title: "", ticks: ticksOf(top, unit) },
        }}
        width={width}
        height={height}
        onPlace={setPointed}
      >
        {lines.map((line, index) => (
          <path
            key={line.name}
            class={`line c${index} ${line.isLimit ? "limit" : ""}`}
            d={pathOf(points, line, place)}
          />
        ))}
        {pointed === null ? null : <path class="pointed" d={`M${x} 0V${height}`} />}
      </Plot>
    </section>
  );
}

function readingAt(point: Point | undefined, line: Line, { show }: Unit): string {
  const value = point ? line.read(point) : null;
  return value === null ? "–" : show(value);
}

function spanOf(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  return minutes <= 1 ? "the last minute" : `the last ${minutes} minutes`;
}

const agoOf = (ms: number): string => (ms < 1000 ? "now" : `${Math.round(ms / 1000)} s ago`);

/** A line is interrupted where nothing was measured. */
function pathOf(points: readonly Point[], line: Line, place: (point: Point, value: number) => string): string {
  let isDrawing = false;
  return points
    .map((point) => {
      const value = line.read(point);
      const command = value === null ? "" : `${isDrawing ? "L" : "M"}${place(point, value)}`;
      isDrawing = value !== null;
      return command;
    })
    .join("");
}

function nearest(points: readonly Point[], at: number): Point | undefined {
  return points.reduce<Point | undefined>(
    (best, point) => (best && Math.abs(best.at - at) <= Math.abs(point.at - at) ? best : point),
    undefined,
  );
}
