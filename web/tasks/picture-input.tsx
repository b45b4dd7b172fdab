/** A picture: drawn with the pointer, a file or an example. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { FileButton } from "../parts/file-button.js";
import { Sheet, sheetSize } from "./sheet.js";

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
  const sheet = useRef<Sheet | null>(null);
  const [isEmpty, setEmpty] = useState(true);
  // Before the browser paints: a first stroke is never cleared.
  useLayoutEffect(() => {
    if (canvas.current) sheet.current = new Sheet(canvas.current, setEmpty);
  }, []);
  useLayoutEffect(() => {
    if (shown) void sheet.current?.show(shown);
  }, [shown]);
  const send = (): void => {
    if (sheet.current) onPicture(sheet.current.picture(isCentred));
  };
  /** What a button does to the sheet, and then asks. */
  const doing = (act: (sheet: Sheet) => void) => (): void => {
    if (!sheet.current) return;
    act(sheet.current);
    send();
  };
  return (
    <div class="picture-input">
      <div class="sheet">
        <canvas
          ref={canvas}
          width={sheetSize}
          height={sheetSize}
          role="img"
          aria-label={`Draw here, or choose a file below.${isCentred ? " A drawing is sent centred, at one size." : ""}`}
          onPointerDown={(event) => {
            event.currentTarget.setPointerCapture(event.pointerId);
            sheet.current?.beginStroke(pointOf(event), isCentred);
          }}
          onPointerMove={(event) => {
            if (event.buttons === 1) sheet.current?.goOn(pointOf(event));
          }}
          onPointerUp={() => sheet.current?.endStroke() && send()}
          onPointerCancel={() => sheet.current?.endStroke() && send()}
        />
        {isEmpty ? (
          <span class="hint" aria-hidden="true">
            Draw here
          </span>
        ) : null}
      </div>
      <div class="toolbar">
        <button type="button" disabled={isEmpty} onClick={doing((sheet) => sheet.clear())}>
          Clear
        </button>
        <button type="button" disabled={isEmpty} onClick={doing((sheet) => sheet.turn())}>
          Turn by a quarter
        </button>
        <button type="button" onClick={doing((sheet) => sheet.invert())}>
          Swap black and white
        </button>
        <FileButton
          label="Choose a picture"
          help="PNG, JPEG or WebP"
          accept="image/png,image/jpeg,image/webp"
          onChoose={([file]) => file && onFile(file)}
        />
      </div>
    </div>
  );
}

/** On the sheet, in its own pixels. */
function pointOf({ currentTarget, clientX, clientY }: PointerEvent): readonly [number, number] {
  const { left, top, width, height } =
    currentTarget instanceof Element ? currentTarget.getBoundingClientRect() : new DOMRect(0, 0, sheetSize, sheetSize);
  return [(sheetSize * (clientX - left)) / width, (sheetSize * (clientY - top)) / height];
}
