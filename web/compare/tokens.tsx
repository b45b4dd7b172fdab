/** An answer's text, token by token: each shows its probability, and what the model might have said instead, to pointer and keyboard. */
import { Component } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { AnswerPiece } from "../client/chunk.js";
import { isCombined } from "../parts/keys.js";
import type { Answer } from "./answer.js";
import { type Block, paragraphsOf } from "./blocks.js";
import { Probabilities, type ProbabilitiesProps } from "./probabilities.js";
import { isShaded, shadeOf } from "./shading.js";

interface Chosen extends ProbabilitiesProps {
  readonly index: number;
}

export function Tokens({ answer, label }: { readonly answer: Answer; readonly label: string }) {
  const region = useRef<HTMLDivElement>(null);
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const blocks = answer.blocks.value;
  useScrollAlong(region, blocks);
  useEffect(() => setChosen(null), [blocks.length === 0]);
  const isOpen = chosen !== null;
  useEffect(() => {
    if (!isOpen) return;
    // A tap beside the answer does not take its focus in every browser.
    const close = ({ target }: Event): void => {
      if (!(target instanceof Node && region.current?.contains(target))) setChosen(null);
    };
    addEventListener("pointerdown", close);
    return () => removeEventListener("pointerdown", close);
  }, [isOpen]);

  const choose = (element: HTMLElement | null): void => setChosen(chosenBy(element, answer));
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
      class={`tokens ${isShaded.value ? "shaded" : ""} ${answer.isRunning ? "running" : ""}`}
      ref={region}
      role="group"
      aria-label={`${label}. Arrow keys show each token's probabilities.`}
      tabIndex={0}
      // A finger chooses with a tap: it also comes over a token to scroll, and leaves when it is lifted.
      onPointerOver={({ target, pointerType }) => pointerType !== "touch" && choose(elementOf(target))}
      onPointerLeave={({ pointerType }) => pointerType !== "touch" && setChosen(null)}
      onClick={({ target }) => choose(elementOf(target))}
      onBlur={() => setChosen(null)}
      onKeyDown={onKeyDown}
    >
      {paragraphsOf(blocks).map((own) => (
        <Paragraph key={own[0]?.start} blocks={own} />
      ))}
      {answer.isRunning && blocks.length === 0 ? <div class="paragraph" /> : null}
      {chosen ? <Probabilities piece={chosen.piece} token={chosen.token} /> : null}
    </div>
  );
}

const elementOf = (target: EventTarget | null): HTMLElement | null => (target instanceof HTMLElement ? target : null);

/** The token of an element; null if it has no probabilities. */
function chosenBy(token: HTMLElement | null, answer: Answer): Chosen | null {
  const index = Number(token?.dataset.index ?? Number.NaN);
  const piece = pieceAt(answer.blocks.value, index);
  return token && piece && piece.alternatives.length > 0 ? { piece, index, token } : null;
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

function classOf({ probability, isReasoning }: AnswerPiece): string {
  const shade = probability === null ? "" : shadeOf(probability);
  return isReasoning ? `reasoning ${shade}` : shade;
}

function pieceAt(blocks: readonly Block[], index: number): AnswerPiece | undefined {
  const block = blocks.find(({ start, pieces }) => index >= start && index < start + pieces.length);
  return block?.pieces[index - block.start];
}

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
