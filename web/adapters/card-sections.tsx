/** What the cards of adapters and bases share: how well it does, where it came from, how to use it, its training and its README. */
import type { ComponentChildren } from "preact";
import type { AdapterCard } from "../client/types.js";
import { Markdown } from "../parts/markdown.js";
import { sectionOf } from "../parts/summary.js";
import { OriginSection } from "./origin-section.js";
import { Scores } from "./scores.js";
import { TrainingChart } from "./training-chart.js";
import { readTraining } from "./training-record.js";
import { usageOf, usualAddress } from "./usage.js";

interface CardSectionsProps {
  readonly card: Pick<AdapterCard, "name" | "readme" | "training" | "chart">;
  readonly isBase?: boolean;
  /** How it came to this server; null: with the base. */
  readonly arrival: string | null;
  /** The fine-tuning job of this server that made it. */
  readonly ownJob?: string | null;
  /** What stands before the README. */
  readonly children?: ComponentChildren;
}

export function CardSections({ card, isBase = false, arrival, ownJob = null, children }: CardSectionsProps) {
  const { name, readme, chart } = card;
  const record = readTraining(card.training);
  // Without a record the README is open, with this section in it.
  const use = record === null ? null : sectionOf(readme, "Use");
  const hasScores = record !== null && (record.scores.length > 0 || record.test !== null);
  return (
    <>
      {hasScores ? (
        <section aria-label="How well it does">
          <h3>How well it does</h3>
          <Scores record={record} isBase={isBase} />
        </section>
      ) : null}
      {isBase && record === null ? null : <OriginSection record={record} arrival={arrival} ownJob={ownJob} />}
      {use === null ? null : <Use section={use} name={isBase ? null : name} />}
      {chart === null ? null : (
        <section aria-label="Training">
          <h3>Training</h3>
          <TrainingChart svg={chart} name={name} />
        </section>
      )}
      {children}
      {readme === null ? null : (
        <details class="readme" open={record === null}>
          <summary>README</summary>
          <Markdown text={readme} />
        </details>
      )}
    </>
  );
}

/** The server that the reader looks at runs already. */
function Use({ section, name }: { readonly section: string; readonly name: string | null }) {
  const { request, serve } = usageOf(section, new URL(".", location.href).href.replace(/\/$/, ""), name);
  return (
    <section aria-label="Use">
      <h3>Use it from a program</h3>
      <Markdown text={request} />
      {serve === null ? null : (
        <details class="elsewhere">
          <summary>Serve it elsewhere</summary>
          <Markdown text={serve} />
          <p class="muted">
            Requests then go to <code>{usualAddress}</code>.
          </p>
        </details>
      )}
    </section>
  );
}
