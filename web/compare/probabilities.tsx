/** What the model might have said instead of a token, beside it and above everything else, so that nothing cuts it off. */
import { useLayoutEffect, useRef } from "preact/hooks";
import type { AnswerPiece } from "../client/chunk.js";

export interface ProbabilitiesProps {
  readonly piece: AnswerPiece;
  readonly token: HTMLElement;
}

export function Probabilities({ piece, token }: ProbabilitiesProps) {
  const own = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = own.current;
    if (!element) return;
    element.showPopover();
    const place = (): void => placeBeside(element, token);
    place();
    token.classList.add("chosen");
    addEventListener("scroll", place, { capture: true, passive: true });
    addEventListener("resize", place);
    return () => {
      token.classList.remove("chosen");
      removeEventListener("scroll", place, { capture: true });
      removeEventListener("resize", place);
    };
  }, [token]);
  return (
    <div class="probabilities" popover="manual" ref={own} role="status">
      {piece.alternatives.map(({ text, probability }) => (
        <div key={text} class={text === piece.text ? "own" : ""}>
          <code>{visible(text)}</code>
          <meter min={0} max={1} value={probability} aria-hidden="true" />
          <span>{(100 * probability).toFixed(1)} %</span>
        </div>
      ))}
    </div>
  );
}

/** From the token and from the window's edges, in pixels. */
const gap = 4;

/** Below the token or, where there is no room, above it; always within the window, and only while the token is in view. */
function placeBeside(element: HTMLElement, token: HTMLElement): void {
  const { clientWidth, clientHeight } = document.documentElement;
  const [{ width, height }, { left, top, bottom }] = [element.getBoundingClientRect(), token.getBoundingClientRect()];
  const isRoomBelow = bottom + height + 2 * gap <= clientHeight;
  const within = (place: number, room: number): string => `${Math.max(gap, Math.min(place, room - gap))}px`;
  element.style.left = within(left, clientWidth - width);
  element.style.top = within(isRoomBelow ? bottom + gap : top - height - gap, clientHeight - height);
  const area = token.closest(".tokens")?.getBoundingClientRect() ?? { top: 0, bottom: clientHeight };
  const isInView = bottom > Math.max(0, area.top) && top < Math.min(clientHeight, area.bottom);
  element.style.visibility = isInView ? "visible" : "hidden";
}

/** A token with its white space made visible. */
const visible = (text: string): string => text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "·");
