/** What bases are, in their authors' words: a sentence of each, and on request its README with its origin and scores. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Markdown } from "./parts/markdown.js";
import { summaryOf } from "./parts/summary.js";
import { client, connection } from "./session.js";

/** The READMEs of bases by their names; empty where there is none. */
const readmes = signal<ReadonlyMap<string, string>>(new Map());

/** null where nothing is known. */
export const baseSummary = (name: string): string | null => summaryOf(readmes.value.get(name) ?? null);

async function load(name: string): Promise<void> {
  if (readmes.value.has(name)) return;
  // A base that says nothing can still be asked.
  const card = await client.modelCard(name).catch(() => null);
  if (card) readmes.value = new Map(readmes.value).set(name, card.readme ?? "");
}

export function AboutBases({ names }: { readonly names: readonly string[] }) {
  const isReady = connection.value.state === "ready";
  useEffect(() => {
    if (isReady) for (const name of names) void load(name);
  }, [isReady, names.join()]);
  return (
    <div class="about-bases">
      {names.map((name) => {
        const readme = readmes.value.get(name) ?? "";
        return readme === "" ? null : (
          <details key={name}>
            <summary>
              <b>{name}</b> <span class="tag">base</span> {summaryOf(readme)}
            </summary>
            <div class="card">
              <Markdown text={readme} />
            </div>
          </details>
        );
      })}
    </div>
  );
}
