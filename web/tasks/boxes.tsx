/** Boxes over a picture, and a list of them. Pointing at a row of the list, or the focus on it, marks its box. */
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Box } from "../client/tasks.js";
import { formatPercent } from "../parts/format.js";
import { Picture } from "../parts/picture.js";
import { placeLabels } from "./box-labels.js";

interface BoxesProps {
  readonly boxes: readonly Box[];
  readonly picture: Blob;
}

export function Boxes({ boxes, picture }: BoxesProps) {
  /** The place of the marked box; null: none. */
  const [marked, setMarked] = useState<number | null>(null);
  const leave = (): void => setMarked(null);
  return (
    <>
      <div class="scene">
        <Picture blob={picture} label="The picture that was sent" />
        <Overlay boxes={boxes} marked={marked} picture={picture} />
      </div>
      {boxes.length === 0 ? (
        <p class="muted">It finds nothing in this picture.</p>
      ) : (
        <ul class="label-bars found" onMouseLeave={leave}>
          {boxes.map(({ label, score }, index) => (
            <li
              key={index}
              class={index === marked ? "marked" : ""}
              tabIndex={0}
              onMouseEnter={() => setMarked(index)}
              onFocus={() => setMarked(index)}
              onBlur={leave}
            >
              <span>{label}</span>
              <meter min={0} max={1} value={score} aria-hidden="true" />
              <span class="figure">{formatPercent(score)}</span>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

interface OverlayProps extends BoxesProps {
  readonly marked: number | null;
}

/** Pixels of the page. */
const fontSize = 12;
const padding = 4;
const labelHeight = 17;

/** Drawn at the size at which the picture is shown, so that labels can be read over pictures of any size. */
function Overlay({ boxes, picture, marked }: OverlayProps) {
  const svg = useRef<SVGSVGElement>(null);
  const [shown, setShown] = useState({ width: 0, height: 0 });
  const [scale, setScale] = useState(0);
  useLayoutEffect(() => {
    const image = svg.current?.parentElement?.querySelector("img");
    if (!image) return;
    const measure = (): void => {
      setShown({ width: image.clientWidth, height: image.clientHeight });
      setScale(image.naturalWidth === 0 ? 0 : image.clientWidth / image.naturalWidth);
    };
    const observer = new ResizeObserver(measure);
    observer.observe(image);
    image.addEventListener("load", measure);
    return () => {
      observer.disconnect();
      image.removeEventListener("load", measure);
    };
  }, [picture]);
  const areas = boxes.map(({ xmin, ymin, xmax, ymax }) => ({
    ...{ x: scale * xmin, y: scale * ymin },
    ...{ width: scale * (xmax - xmin), height: scale * (ymax - ymin) },
  }));
  const labels = useMemo(() => {
    const sizes = boxes.map(({ label }) => ({ width: widthOf(label) + 2 * padding, height: labelHeight }));
    return placeLabels(areas, sizes, shown);
  }, [boxes, scale, shown]);
  return (
    <svg
      ref={svg}
      viewBox={`0 0 ${shown.width} ${shown.height}`}
      role="img"
      aria-label={`${boxes.length} boxes over the picture`}
    >
      {scale === 0
        ? null
        : areas.map((area, index) => <rect key={index} class={index === marked ? "box marked" : "box"} {...area} />)}
      {scale === 0
        ? null
        : labels.map((area, index) => (
            <g key={index} class={index === marked ? "box-label marked" : "box-label"}>
              <rect {...area} rx={3} />
              <text x={area.x + padding} y={area.y + labelHeight - 5}>
                {boxes[index]?.label}
              </text>
            </g>
          ))}
    </svg>
  );
}

/** Of a label in the overlay's font. */
function widthOf(label: string): number {
  ruler ??= document.createElement("canvas").getContext("2d");
  if (!ruler) return label.length * fontSize;
  ruler.font = `600 ${fontSize}px sans-serif`;
  return ruler.measureText(label).width;
}

let ruler: CanvasRenderingContext2D | null = null;
