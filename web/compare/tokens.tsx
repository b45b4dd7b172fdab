/** An answer's text, token by token: each shows its probability, and what the model might have said instead, to pointer and keyboard. */
import { Component } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { AnswerPiece } from "../client/chunk.js";
import { isCombined } from "../parts/keys.js";
import type { Answer } from "./answer.js";
import { type Block, paragraphsOf } from "./blocks.js";

interface Chosen {
  readonly piece: AnswerPiece;
  readonly index: number;
  readonly left: number;
  readonly top: number;
}

export function Tokens({ answer, label, isShaded }: { answer: Answer; label: string; isShaded: boolean }) {
  const region = useRef<HTMLDivElement>(null);
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const blocks = answer.blocks.value;
  useScrollAlong(region, blocks);
  useEffect(() => setChosen(null), [blocks.length === 0]);

  const choose = (element: HTMLElement | null): void => setChosen(chosenBy(element, region.current, answer));
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && chosen !== null) {
      // Elsewhere, the key stops the answers.
      event.stopPropagation();
      setChosen(null);
    }
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0 || isCombined(event)) return;
    event.preventDefault();
    const index = chosen === null ? 0 : chosen.index + step;
    const element = region.current?.querySelector<HTMLElement>(`[data-index="${index}"]`) ?? null;
    element?.scrollIntoView({ block: "nearest" });
    if (element) choose(element);
  };
  return (
    <div
      class={`tokens ${isShaded ? "shaded" : ""} ${answer.isRunning ? "running" : ""}`}
      ref={region}
      role="group"
      aria-label={`${label}. Arrow keys show each token's probabilities.`}
      tabIndex={0}
      onPointerOver={({ target }) => choose(target instanceof HTMLElement ? target : null)}
      onPointerLeave={() => setChosen(null)}
      onBlur={() => setChosen(null)}
      onKeyDown={onKeyDown}
    >
      {paragraphsOf(blocks).map((own) => (
        <Paragraph key={own[0]?.start} blocks={own} />
      ))}
      {answer.isRunning && blocks.length === 0 ? <div class="paragraph" /> : null}
      {chosen ? <Probabilities {...chosen} /> : null}
    </div>
  );
}

/** The token of an element, and where beside it there is room; null if it has no probabilities. */
function chosenBy(element: HTMLElement | null, region: HTMLElement | null, answer: Answer): Chosen | null {
  const index = Number(element?.dataset.index ?? Number.NaN);
  const piece = pieceAt(answer.blocks.value, index);
  if (!region || !element || !piece || piece.alternatives.length === 0) return null;
  const [area, box] = [region.getBoundingClientRect(), element.getBoundingClientRect()];
  const left = Math.max(0, Math.min(box.left - area.left, area.width - popoverWidth(area.width)));
  return { piece, index, left, top: box.bottom - area.top + region.scrollTop + 4 };
}

/** Renders while it grows. */
class Paragraph extends Component<{ readonly blocks: readonly Block[] }> {
  override shouldComponentUpdate({ blocks }: { readonly blocks: readonly Block[] }): boolean {
    const before = this.props.blocks;
    return blocks.length !== before.length || blocks.at(-1) !== before.at(-1);
  }

  override render() {
    return (
      <div class="paragraph">
        {this.props.blocks.map((block) => (
          <TokenBlock key={block.start} block={block} />
        ))}
      </div>
    );
  }
}

/** Renders once for each state of its block, which never changes. */
class TokenBlock extends Component<{ readonly block: Block }> {
  override shouldComponentUpdate(next: { readonly block: Block }): boolean {
    return next.block !== this.props.block;
  }

  override render() {
    const { start, pieces } = this.props.block;
    return (
      <span>
        {pieces.map((piece, at) => (
          <span key={start + at} data-index={start + at} class={classOf(piece)}>
            {piece.text}
          </span>
        ))}
      </span>
    );
  }
}

const shades = [0.1, 0.3, 0.6, 0.9];

/** `p0` is the least likely fifth of the scale, `p4` the likeliest. */
function classOf({ probability, isReasoning }: AnswerPiece): string {
  const shade = probability === null ? "" : `p${shades.filter((bound) => probability >= bound).length}`;
  return isReasoning ? `reasoning ${shade}` : shade;
}

function pieceAt(blocks: readonly Block[], index: number): AnswerPiece | undefined {
  const block = blocks.find(({ start, pieces }) => index >= start && index < start + pieces.length);
  return block?.pieces[index - block.start];
}

const popoverWidth = (available: number): number => Math.min(240, available);

function Probabilities({ piece, left, top }: Chosen) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!place.current) return;
    place.current.style.left = `${left}px`;
    place.current.style.top = `${top}px`;
  }, [left, top]);
  return (
    <div class="probabilities" ref={place} role="status">
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

/** A token with its white space made visible. */
const visible = (text: string): string => text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "·");

/** Keeps the end in view while the reader is at the end. */
function useScrollAlong(region: { readonly current: HTMLElement | null }, blocks: readonly Block[]): void {
  const isAtEnd = useRef(true);
  useEffect(() => {
    const element = region.current;
    if (!element) return;
    const note = (): void => {
      isAtEnd.current = element.scrollTop + element.clientHeight > element.scrollHeight - 24;
    };
    element.addEventListener("scroll", note, { passive: true });
    return () => element.removeEventListener("scroll", note);
  }, [region]);
  useEffect(() => {
    if (isAtEnd.current && region.current) region.current.scrollTop = region.current.scrollHeight;
  }, [region, blocks]);
}
