/** Drops the oldest turns of a chat that is too long for the context, as few as possible. */
import { hasCode } from "../base/errors.js";
import type { ChatMessage } from "../text/types.js";
import type { ChatRequest, GenerationRequest } from "./requests.js";

/**
 * Plans the request; if it is too long and may be shortened, plans it without its oldest turns. A turn begins with a message of the user,
 * so no answer or result of a call loses what it answers. System messages and the last turn stay. Throws what `plan` throws.
 */
export async function planShortened<Plan>(
  request: GenerationRequest,
  plan: (request: GenerationRequest) => Promise<Plan>,
): Promise<Plan> {
  try {
    return await plan(request);
  } catch (error) {
    if (request.kind !== "chat" || request.dropsOldestTurns !== true || !isTooLong(error)) throw error;
    return shorten(request, plan, error);
  }
}

/** A search by halves: a long chat is rendered and tokenized a few times, not once for each turn. */
async function shorten<Plan>(
  request: ChatRequest,
  plan: (request: ChatRequest) => Promise<Plan>,
  tooLong: unknown,
): Promise<Plan> {
  const turns = request.messages.filter(({ role }) => role === "user").length;
  let best: { readonly plan: Plan } | null = null;
  let last = tooLong;
  for (let least = 1, most = turns - 1; least <= most; ) {
    const dropped = Math.floor((least + most) / 2);
    try {
      best = { plan: await plan({ ...request, messages: withoutTurns(request.messages, dropped) }) };
      most = dropped - 1;
    } catch (error) {
      if (!isTooLong(error)) throw error;
      last = error;
      least = dropped + 1;
    }
  }
  if (!best) throw last;
  return best.plan;
}

/** What precedes the first message of the user goes with the first turn. */
function withoutTurns(messages: readonly ChatMessage[], count: number): ChatMessage[] {
  let turn = 0;
  return messages.filter(({ role }) => {
    if (role === "user") turn++;
    return role === "system" || turn > count;
  });
}

function isTooLong(error: unknown): boolean {
  return hasCode(error, "context_length_exceeded", "prompt_too_long");
}
