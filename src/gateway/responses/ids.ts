/** Ids of responses and of their items. */
import { randomUUID } from "node:crypto";

const hex = (): string => randomUUID().replaceAll("-", "");

export const newResponseId = (): string => `resp_${hex()}`;

/** The id of item `index` of a response. It holds the response's own id, so that an item can be found by its id alone. */
export function itemIdOf(responseId: string, index: number): string {
  return `msg_${responseId.slice("resp_".length)}_${index}`;
}
