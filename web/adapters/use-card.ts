/** The card of one version of an adapter, read once while a component shows it. */
import { useEffect, useState } from "preact/hooks";
import type { AdapterCard, AdapterInfo } from "../client/types.js";
import { client, noteFailure } from "../session.js";

export interface ReadCard {
  /** null until it is read. */
  readonly card: AdapterCard | null;
  /** Why it cannot be read. */
  readonly fault: string | null;
}

const unread: ReadCard = { card: null, fault: null };

/** Of another version, nothing is known until its own card is read. */
export function useCard(version: Pick<AdapterInfo, "name" | "digest"> | null): ReadCard {
  const [read, setRead] = useState(unread);
  const { name = null, digest = null } = version ?? {};
  useEffect(() => {
    setRead(unread);
    if (name === null) return;
    let isWanted = true;
    const take = (found: ReadCard): void => {
      if (isWanted) setRead(found);
    };
    client.card(name).then(
      (card) => take({ card, fault: null }),
      (error: unknown) => take({ card: null, fault: noteFailure(error) }),
    );
    return () => {
      isWanted = false;
    };
  }, [name, digest]);
  return read;
}
