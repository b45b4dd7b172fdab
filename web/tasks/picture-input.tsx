/** A picture: drawn with the pointer, white on black as digits are in most collections, or a file. */
import { useEffect, useRef } from "preact/hooks";

const size = 280;
const strokeWidth = 22;

export function PictureInput({ onPicture }: { readonly onPicture: (picture: Blob | null) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const clear = (): void => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    context.fillStyle = "#000";
    context.fillRect(0, 0, size, size);
  };
  useEffect(clear, []);
  const point = (event: PointerEvent): readonly [number, number] => {
    const box = canvas.current?.getBoundingClientRect() ?? new DOMRect(0, 0, size, size);
    return [(size * (event.clientX - box.left)) / box.width, (size * (event.clientY - box.top)) / box.height];
  };
  const start = (event: PointerEvent): void => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    canvas.current?.setPointerCapture(event.pointerId);
    context.strokeStyle = "#fff";
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
  const end = (): void => canvas.current?.toBlob((picture) => onPicture(picture));
  return (
    <div class="picture-input">
      <canvas
        ref={canvas}
        width={size}
        height={size}
        role="img"
        aria-label="Draw here, or choose a file below"
        onPointerDown={start}
        onPointerMove={move}
        onPointerUp={end}
      />
      <button
        type="button"
        onClick={() => {
          clear();
          onPicture(null);
        }}
      >
        Clear
      </button>
      <label>
        or a picture
        <input
          type="file"
          accept="image/png,image/jpeg,image/webp"
          onChange={({ currentTarget }) => onPicture(currentTarget.files?.[0] ?? null)}
        />
      </label>
    </div>
  );
}
