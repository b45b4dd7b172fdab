/** What the base and the adapter answer to one input, side by side. */

import { Fault } from "../parts/fault.js";
import { differenceOf } from "./difference.js";
import { Result } from "./results.js";
import { type Answer, isAsking, type Round, round } from "./round.js";

interface AnswersProps {
  readonly base: string;
  readonly task: string;
  /** What stands in the form now; empty for pictures. */
  readonly text: string;
  readonly other: string;
  /** Whether an adapter can answer beside the base. */
  readonly hasChoice: boolean;
}

export function Answers({ base, task, text, other, hasChoice }: AnswersProps) {
  const shown = round.value?.base === base && round.value.task === task ? round.value : null;
  const fault = shown && sharedFault(shown.answers);
  const isOlder = shown !== null && shown.input.picture === null && isOther(shown, text, other);
  return (
    <section
      class="card task-result"
      aria-label="Answer"
      aria-live="polite"
      aria-busy={isAsking.value}
      // On a narrow screen it stays in view, and scrolls.
      tabIndex={0}
    >
      {shown === null ? (
        <p class="muted">{isAsking.value ? "Asking…" : "The answer appears here."}</p>
      ) : (
        <>
          {isOlder ? <p class="muted asked">To “{shown.input.text}”:</p> : null}
          {fault === null ? (
            <div class="answers">
              {shown.answers.map((answer) => (
                <Column key={answer.model} answer={answer} round={shown} />
              ))}
            </div>
          ) : (
            <Fault text={fault} />
          )}
          <Comparison answers={shown.answers} hasChoice={hasChoice} />
        </>
      )}
    </section>
  );
}

/** What is wrong with the input itself is said once. */
function sharedFault(answers: readonly Answer[]): string | null {
  const faults = answers.map(({ outcome }) => (outcome.kind === "fault" ? outcome.fault : null));
  return faults.every((fault) => fault === faults[0]) ? (faults[0] ?? null) : null;
}

const isOther = ({ input }: Round, text: string, other: string): boolean =>
  input.text !== text || input.other !== other;

function Column({ answer: { model, outcome }, round }: { readonly answer: Answer; readonly round: Round }) {
  const { base, input } = round;
  return (
    <div class="answer-column">
      <h2>
        {model} <span class="tag">{model === base ? "base" : "adapter"}</span>
      </h2>
      {outcome.kind === "fault" ? (
        <Fault text={outcome.fault} />
      ) : (
        <Result result={outcome.result} text={input.picture ? null : input.text} picture={input.picture} />
      )}
    </div>
  );
}

/** What the answers come to, or how to get a second one. */
function Comparison({ answers, hasChoice }: { readonly answers: readonly Answer[]; readonly hasChoice: boolean }) {
  const found = answers.flatMap(({ model, outcome }) =>
    outcome.kind === "result" ? [{ model, result: outcome.result }] : [],
  );
  const [first, second] = found;
  if (first && second) {
    const sentence = differenceOf(first, second);
    return sentence === null ? null : <p class="difference">{sentence}</p>;
  }
  if (!first || answers.length > 1 || !hasChoice) return null;
  return <p class="muted">Choose an adapter to see its answer beside this one.</p>;
}
