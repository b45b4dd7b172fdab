/** Where an adapter can be tried on its author's own example, once its card is read. */
import { useEffect, useState } from "preact/hooks";
import type { AdapterCard, AdapterInfo } from "../client/types.js";
import { client } from "../session.js";
import { type TryLink, tryLinkOf } from "./compare-link.js";

/** On the first example in words; without one, on what was compared last. */
export function exampleLinkOf(adapter: Pick<AdapterInfo, "name" | "base" | "tasks">, card: AdapterCard | null) {
  const index = card?.examples.findIndex(({ text }) => text !== null) ?? -1;
  const example = card?.examples[index];
  return tryLinkOf(adapter, example && { ...example, index });
}

/** null until the card is read, so that the link does not change under the reader's hand; without a card, on what was compared last. */
export function useTryLink(adapter: Pick<AdapterInfo, "name" | "base" | "tasks">): TryLink | null {
  const [card, setCard] = useState<AdapterCard | null | "unread">("unread");
  const { name } = adapter;
  useEffect(() => {
    let isWanted = true;
    const take = (read: AdapterCard | null): void => {
      if (isWanted) setCard(read);
    };
    client.modelCard(name).then(take, () => take(null));
    return () => {
      isWanted = false;
    };
  }, [name]);
  return card === "unread" ? null : exampleLinkOf(adapter, card);
}
