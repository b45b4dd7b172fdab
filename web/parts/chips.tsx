/** Examples to choose from. The Tab key passes them at one stop; the arrow keys, Home and End go from one to the next. */
import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { isCombined } from "./keys.js";

export interface Chip {
  readonly key: string;
  readonly help?: string;
  readonly content: ComponentChildren;
  readonly choose: () => void;
}

export function Chips({ chips }: { readonly chips: readonly Chip[] }) {
  const group = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(0);
  if (chips.length === 0) return null;
  const stop = Math.min(at, chips.length - 1);
  const move = (event: KeyboardEvent): void => {
    const next = placeAfter(event.key, stop, chips.length);
    if (next === null || isCombined(event)) return;
    event.preventDefault();
    setAt(next);
    group.current?.querySelectorAll("button")[next]?.focus();
  };
  return (
    <div class="presets" role="toolbar" aria-label="Examples" ref={group} onKeyDown={move}>
      <span class="label">Try</span>
      {chips.map(({ key, help, content, choose }, index) => (
        <button
          key={key}
          type="button"
          class="chip"
          title={help}
          tabIndex={index === stop ? 0 : -1}
          onFocus={() => setAt(index)}
          onClick={choose}
        >
          {content}
        </button>
      ))}
    </div>
  );
}

/** null for a key that does not move. */
function placeAfter(key: string, at: number, count: number): number | null {
  if (key === "ArrowRight" || key === "ArrowDown") return (at + 1) % count;
  if (key === "ArrowLeft" || key === "ArrowUp") return (at + count - 1) % count;
  if (key === "Home") return 0;
  return key === "End" ? count - 1 : null;
}
