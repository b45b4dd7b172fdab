/** The area of a chart. A pointer or the arrow keys choose a place in it, from 0 at the left to 1, whose numbers the chart then shows as text. */
import type { ComponentChildren } from "preact";
import { isCombined } from "./keys.js";
import type { Tick } from "./scale.js";

export interface PlotProps {
  /** What the places stand for. */
  readonly label: string;
  /** null: none is chosen. */
  readonly place: number | null;
  /** How far an arrow key moves. */
  readonly step: number;
  /** The numbers at the place, for screen readers. */
  readonly reading: string;
  /** The largest number of the scale, where there are no axes. */
  readonly top?: string;
  readonly axes?: Axes;
  readonly width: number;
  readonly height: number;
  readonly onPlace: (place: number | null) => void;
  readonly children: ComponentChildren;
}

/** Titles and ticks of both axes. */
export interface Axes {
  readonly x: Axis;
  readonly y: Axis;
}

interface Axis {
  readonly title: string;
  readonly ticks: readonly Tick[];
}

const largeStep = 10;

export function Plot({ axes, ...area }: PlotProps) {
  if (!axes) return <Area {...area} levels={[0, 0.5, 1]} />;
  const { x, y } = axes;
  // What the marks say, the reading of the area says too.
  return (
    <div class="framed">
      <span class="y-title" aria-hidden="true">
        {y.title}
      </span>
      <div class="y-ticks" aria-hidden="true">
        {y.ticks.map(({ place, text }) => (
          <span key={text} style={{ bottom: `${100 * place}%` }}>
            {text}
          </span>
        ))}
      </div>
      <Area {...area} levels={y.ticks.map(({ place }) => place)} />
      <div class="x-ticks" aria-hidden="true">
        {x.ticks.map(({ place, text }) => (
          <span key={text} style={{ left: `${100 * place}%` }}>
            {text}
          </span>
        ))}
      </div>
      <span class="x-title" aria-hidden="true">
        {x.title}
      </span>
    </div>
  );
}

interface AreaProps extends Omit<PlotProps, "axes"> {
  /** Heights of the grid's lines, from 0 at the bottom to 1. */
  readonly levels: readonly number[];
}

function Area({ label, place, step, reading, top, width, height, onPlace, levels, children }: AreaProps) {
  const current = place ?? 1;
  const byKey: Readonly<Record<string, number>> = {
    ArrowLeft: current - step,
    ArrowDown: current - step,
    ArrowRight: current + step,
    ArrowUp: current + step,
    PageDown: current - largeStep * step,
    PageUp: current + largeStep * step,
    Home: 0,
    End: 1,
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const chosen = byKey[event.key];
    if (chosen === undefined || isCombined(event)) return;
    event.preventDefault();
    onPlace(Math.min(1, Math.max(0, chosen)));
  };
  const onPointerMove = ({ currentTarget, clientX }: PointerEvent): void => {
    if (!(currentTarget instanceof Element)) return;
    const box = currentTarget.getBoundingClientRect();
    onPlace(Math.min(1, Math.max(0, (clientX - box.left) / box.width)));
  };
  return (
    <div
      class="plot"
      role="slider"
      tabIndex={0}
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(100 * current)}
      aria-valuetext={reading}
      onKeyDown={onKeyDown}
      onBlur={() => onPlace(null)}
      onPointerMove={onPointerMove}
      onPointerLeave={() => onPlace(null)}
    >
      {top === undefined ? null : (
        <span class="top" aria-hidden="true">
          {top}
        </span>
      )}
      <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
        <path class="grid" d={levels.map((level) => `M0 ${height * (1 - level)}H${width}`).join("")} />
        {children}
      </svg>
    </div>
  );
}
