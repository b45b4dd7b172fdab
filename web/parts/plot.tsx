/** The area of a chart. A pointer or the arrow keys choose a place in it, from 0 at the left to 1, whose numbers the chart then shows as text. */
import type { ComponentChildren } from "preact";
import { isCombined } from "./keys.js";

export interface PlotProps {
  /** What the places stand for. */
  readonly label: string;
  /** null: none is chosen. */
  readonly place: number | null;
  /** How far an arrow key moves. */
  readonly step: number;
  /** The numbers at the place, for screen readers. */
  readonly reading: string;
  /** The largest number of the scale. */
  readonly top: string;
  readonly width: number;
  readonly height: number;
  readonly onPlace: (place: number | null) => void;
  readonly children: ComponentChildren;
}

const largeStep = 10;

export function Plot({ label, place, step, reading, top, width, height, onPlace, children }: PlotProps) {
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
      <span class="top" aria-hidden="true">
        {top}
      </span>
      <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
        <path class="grid" d={`M0 0H${width}M0 ${height / 2}H${width}M0 ${height}H${width}`} />
        {children}
      </svg>
    </div>
  );
}
