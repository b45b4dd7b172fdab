/** What bases are, in their authors' words: a sentence of each, and on request how well it does, its origin and its README. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { CardSections } from "./adapters/card-sections.js";
import type { AdapterCard } from "./client/types.js";
import { summaryOf } from "./parts/summary.js";
import { client, connection } from "./session.js";

/** The cards of bases by their names. */
const cards = signal<ReadonlyMap<string, AdapterCard>>(new Map());

/** null where nothing is known. */
export const baseSummary = (name: string): string | null => summaryOf(cards.value.get(name)?.readme ?? null);

async function load(name: string): Promise<void> {
  if (cards.value.has(name)) return;
  // A base that says nothing can still be asked.
  const card = await client.modelCard(name).catch(() => null);
  if (card) cards.value = new Map(cards.value).set(name, card);
}

export function AboutBases({ names }: { readonly names: readonly string[] }) {
  const isReady = connection.value.state === "ready";
  useEffect(() => {
    if (isReady) for (const name of names) void load(name);
  }, [isReady, names.join()]);
  return (
    <div class="about-bases">
      {names.map((name) => {
        const card = cards.value.get(name);
        return card === undefined || card.readme === null || card.readme === "" ? null : (
          <details key={name}>
            <summary>
              <b>{name}</b> <span class="tag">base</span> {summaryOf(card.readme)}
            </summary>
            <div class="card about">
              <CardSections card={card} isBase arrival={null} />
            </div>
          </details>
        );
      })}
    </div>
  );
}
