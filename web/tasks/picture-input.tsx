/**
 * A picture: drawn with the pointer, white on black as digits are in most collections, a file or an example. It can be turned, and its black and
 * white swapped: one picture is asked in several ways.
 */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { inkOf } from "./ink.js";

/** Sides of the sheet and of the picture that is sent. */
const size = 560;
const sentSize = 280;
/** How much of the picture the larger side of a drawing takes, as in MNIST: 20 of 28. */
const share = 20 / 28;
const thick = 44;
/** Where one draws several things on a sheet. */
const thin = 22;

interface PictureInputProps {
  /** A file or an example to show on the sheet. */
  readonly shown: Blob | null;
  /** Whether a drawing is sent centred and at one size, as collections of single things have them. */
  readonly isCentred: boolean;
  /** A picture was drawn or changed, or taken away. */
  readonly onPicture: (picture: Blob | null) => void;
  readonly onFile: (file: Blob) => void;
}

export function PictureInput({ shown, isCentred, onPicture, onFile }: PictureInputProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const file = useRef<HTMLInputElement>(null);
  const colours = useRef({ ink: "#fff", paper: "#000" });
  /** What lies on the sheet. Only a drawing is centred. */
  const content = useRef<"nothing" | "drawing" | "picture">("nothing");
  const [isEmpty, setEmpty] = useState(true);
  const hold = (what: typeof content.current): void => {
    content.current = what;
    setEmpty(what === "nothing");
  };
  const clear = (): void => {
    hold("nothing");
    const context = canvas.current?.getContext("2d", { willReadFrequently: true });
    if (!context) return;
    context.fillStyle = colours.current.paper;
    context.fillRect(0, 0, size, size);
  };
  /** Draws the picture again, changed. */
  const redraw = (change: (context: CanvasRenderingContext2D, picture: HTMLCanvasElement) => void): void => {
    const context = canvas.current?.getContext("2d");
    if (!canvas.current || !context) return;
    const copy = canvasOf(size);
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
  useEffect(() => {
    if (shown === null) return;
    let isCurrent = true;
    void createImageBitmap(shown).then(
      (image) => {
        const context = canvas.current?.getContext("2d");
        if (!isCurrent || !context) return;
        clear();
        hold("picture");
        const scale = size / Math.max(image.width, image.height);
        const [width, height] = [scale * image.width, scale * image.height];
        context.imageSmoothingEnabled = scale < 4;
        context.drawImage(image, (size - width) / 2, (size - height) / 2, width, height);
      },
      // The server says what is wrong with it; the sheet does not show something else.
      () => isCurrent && clear(),
    );
    return () => {
      isCurrent = false;
    };
  }, [shown]);
  const point = (event: PointerEvent): readonly [number, number] => {
    const box = canvas.current?.getBoundingClientRect() ?? new DOMRect(0, 0, size, size);
    return [(size * (event.clientX - box.left)) / box.width, (size * (event.clientY - box.top)) / box.height];
  };
  const start = (event: PointerEvent): void => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    if (content.current === "picture") clear();
    hold("drawing");
    canvas.current?.setPointerCapture(event.pointerId);
    context.strokeStyle = colours.current.ink;
    context.lineWidth = isCentred ? thick : thin;
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
    if (!canvas.current || content.current === "nothing") return;
    const isDrawing = content.current === "drawing";
    const sent = isCentred && isDrawing ? centred(canvas.current, colours.current.paper) : whole(canvas.current);
    onPicture(sent && pngOf(sent));
  };
  return (
    <div class="picture-input">
      <div class="sheet">
        <canvas
          ref={canvas}
          width={size}
          height={size}
          role="img"
          aria-label={`Draw here, or choose a file below.${isCentred ? " A drawing is sent centred, at one size." : ""}`}
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
          disabled={isEmpty}
          onClick={() => {
            clear();
            onPicture(null);
          }}
        >
          Clear
        </button>
        <button type="button" disabled={isEmpty} onClick={turn}>
          Turn by a quarter
        </button>
        <button type="button" onClick={invert}>
          Swap black and white
        </button>
        <button type="button" title="PNG, JPEG or WebP" onClick={() => file.current?.click()}>
          Choose a picture
        </button>
        <input
          ref={file}
          type="file"
          hidden
          accept="image/png,image/jpeg,image/webp"
          onChange={({ currentTarget }) => {
            const [chosen] = currentTarget.files ?? [];
            if (chosen) onFile(chosen);
            // The same file can be chosen again.
            currentTarget.value = "";
          }}
        />
      </div>
    </div>
  );
}

function canvasOf(side: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  return canvas;
}

/** At once, unlike `toBlob`, which waits until the browser is idle: what is drawn or cleared meanwhile stays in order. */
function pngOf(canvas: HTMLCanvasElement): Blob {
  const url = canvas.toDataURL("image/png");
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (sign) => sign.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

function whole(sheet: HTMLCanvasElement): HTMLCanvasElement {
  const copy = canvasOf(sentSize);
  copy.getContext("2d")?.drawImage(sheet, 0, 0, sentSize, sentSize);
  return copy;
}

/** The drawing at the size and in the place of a digit of MNIST; null if nothing is drawn. */
function centred(drawing: HTMLCanvasElement, paper: string): HTMLCanvasElement | null {
  const pixels = drawing.getContext("2d")?.getImageData(0, 0, size, size).data;
  const ink = pixels && inkOf(pixels, size, paper === "#000");
  if (!ink) return null;
  const sheet = canvasOf(sentSize);
  const context = sheet.getContext("2d");
  if (!context) return null;
  const scale = (share * sentSize) / Math.max(ink.width, ink.height);
  context.fillStyle = paper;
  context.fillRect(0, 0, sentSize, sentSize);
  context.translate(sentSize / 2, sentSize / 2);
  context.scale(scale, scale);
  context.drawImage(drawing, -ink.x, -ink.y);
  return sheet;
}
