/** Ids of responses and of their items. */
import { randomUUID } from "node:crypto";

const responseForm = /^resp_[0-9a-f]{32}$/;
const itemForm = /^[a-z]+_([0-9a-f]{32})_\d{1,6}$/;

export const newResponseId = (): string => `resp_${randomUUID().replaceAll("-", "")}`;

export const isResponseId = (id: string): boolean => responseForm.test(id);

/** The id of item `index` of a response. It holds the response's own id, so that an item can be found by its id alone. */
export function itemIdOf(responseId: string, index: number, prefix: string): string {
  return `${prefix}_${responseId.slice("resp_".length)}_${index}`;
}

/** The response that an item belongs to; null for ids of another form. */
export function responseIdOf(itemId: string): string | null {
  const [, hex] = itemForm.exec(itemId) ?? [];
  return hex === undefined ? null : `resp_${hex}`;
}
