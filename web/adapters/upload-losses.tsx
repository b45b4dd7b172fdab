/** What an adapter's page loses when it is replaced by files that lack it. */
import type { AdapterCard } from "../client/types.js";
import type { Parcel } from "./dropped.js";
import { lossesOf } from "./upload-words.js";

export interface LossesProps {
  readonly name: string;
  readonly parcel: Parcel;
  readonly card: AdapterCard;
}

/** Said before it happens. */
export function Losses({ name, parcel, card }: LossesProps) {
  if (parcel.isOpaque) {
    return (
      <p class="notice" role="status">
        The tar replaces all files of {name}: its README, examples and training record stay only if the tar holds them.
      </p>
    );
  }
  const lost = lossesOf(parcel.files, card);
  if (lost.length === 0) return null;
  return (
    <p class="notice" role="status">
      Your files replace all files of {name}, so it loses {lost.join(" and ")}. Choose the whole folder to keep them.
    </p>
  );
}
