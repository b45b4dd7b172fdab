/**
 * A picture: drawn with the pointer, white on black as digits are in most collections, or a file. A drawing can be turned, and its black and white
 * swapped: what was drawn once is asked in other ways.
 */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { inkOf } from "./ink.js";

const size = 280;
/** How much of the picture the larger side of a drawing takes, as in MNIST: 20 of 28. */
const share = 20 / 28;
const strokeWidth = 22;

export function PictureInput({ onPicture }: { readonly onPicture: (picture: Blob | null) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const colours = useRef({ ink: "#fff", paper: "#000" });
  const [isEmpty, setEmpty] = useState(true);
  const clear = (): void => {
    setEmpty(true);
    const context = canvas.current?.getContext("2d", { willReadFrequently: true });
    if (!context) return;
    context.fillStyle = colours.current.paper;
    context.fillRect(0, 0, size, size);
  };
  /** Draws the picture again, changed. */
  const redraw = (change: (context: CanvasRenderingContext2D, picture: HTMLCanvasElement) => void): void => {
    const context = canvas.current?.getContext("2d");
    if (!canvas.current || !context) return;
    const copy = document.createElement("canvas");
    copy.width = copy.height = size;
    copy.getContext("2d")?.drawImage(canvas.current, 0, 0);
    context.save();
    change(context, copy);
    context.restore();
    end();
  };
  const turn = (): void =>
    redraw((context, picture) => {
      context.translate(0, size);
      context.rotate(-Math.PI / 2);
      context.drawImage(picture, 0, 0);
    });
  const invert = (): void => {
    const { ink, paper } = colours.current;
    colours.current = { ink: paper, paper: ink };
    redraw((context) => {
      context.globalCompositeOperation = "difference";
      context.fillStyle = "#fff";
      context.fillRect(0, 0, size, size);
    });
  };
  // Before the browser paints: a first stroke is never cleared.
  useLayoutEffect(clear, []);
  const point = (event: PointerEvent): readonly [number, number] => {
    const box = canvas.current?.getBoundingClientRect() ?? new DOMRect(0, 0, size, size);
    return [(size * (event.clientX - box.left)) / box.width, (size * (event.clientY - box.top)) / box.height];
  };
  const start = (event: PointerEvent): void => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    setEmpty(false);
    canvas.current?.setPointerCapture(event.pointerId);
    context.strokeStyle = colours.current.ink;
    context.lineWidth = strokeWidth;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...point(event));
  };
  const move = (event: PointerEvent): void => {
    if (event.buttons !== 1) return;
    const context = canvas.current?.getContext("2d");
    context?.lineTo(...point(event));
    context?.stroke();
  };
  const end = (): void => {
    const drawn = canvas.current && centred(canvas.current, colours.current.paper);
    onPicture(drawn && pngOf(drawn));
  };
  return (
    <div class="picture-input">
      <div class="sheet">
        <canvas
          ref={canvas}
          width={size}
          height={size}
          role="img"
          aria-label="Draw here, or choose a file below. A drawing is sent centred, at one size."
          onPointerDown={start}
          onPointerMove={move}
          onPointerUp={end}
        />
        {isEmpty ? (
          <span class="hint" aria-hidden="true">
            Draw here
          </span>
        ) : null}
      </div>
      <div class="toolbar">
        <button
          type="button"
          onClick={() => {
            clear();
            onPicture(null);
          }}
        >
          Clear
        </button>
        <button type="button" onClick={turn}>
          Turn by a quarter
        </button>
        <button type="button" onClick={invert}>
          Swap black and white
        </button>
      </div>
      <label>
        or a picture (PNG, JPEG, WebP)
        <input
          type="file"
          accept="image/png,image/jpeg,image/webp"
          onChange={({ currentTarget }) => onPicture(currentTarget.files?.[0] ?? null)}
        />
      </label>
    </div>
  );
}

/** At once, unlike `toBlob`, which waits until the browser is idle: what is drawn or cleared meanwhile stays in order. */
function pngOf(canvas: HTMLCanvasElement): Blob {
  const url = canvas.toDataURL("image/png");
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (sign) => sign.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

/** The drawing at the size and in the place of a digit of MNIST; null if nothing is drawn. */
function centred(drawing: HTMLCanvasElement, paper: string): HTMLCanvasElement | null {
  const pixels = drawing.getContext("2d")?.getImageData(0, 0, size, size).data;
  const ink = pixels && inkOf(pixels, size, paper === "#000");
  if (!ink) return null;
  const sheet = document.createElement("canvas");
  sheet.width = sheet.height = size;
  const context = sheet.getContext("2d");
  if (!context) return null;
  const scale = (share * size) / Math.max(ink.width, ink.height);
  context.fillStyle = paper;
  context.fillRect(0, 0, size, size);
  context.translate(size / 2, size / 2);
  context.scale(scale, scale);
  context.drawImage(drawing, -ink.x, -ink.y);
  return sheet;
}
