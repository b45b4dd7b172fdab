/** What an adapter changes of the base's tables: the embeddings of tokens, and single rows of the head. */

import type { HostTable, HostTokens } from "../../adapter/types.js";

export interface AdaptedTables {
  readonly embedding?: HostTable | undefined;
  readonly tokens?: readonly HostTokens[] | undefined;
}

/** Whether an adapter has other embeddings than the base's. */
export const embedsOf = ({ embedding, tokens }: AdaptedTables): boolean =>
  embedding !== undefined || tokens?.some(({ inEmbeddings }) => inEmbeddings) === true;

/** The rows of the head that an adapter replaces. */
export const headTokens = ({ tokens }: AdaptedTables): HostTokens | undefined => tokens?.find(({ inHead }) => inHead);
