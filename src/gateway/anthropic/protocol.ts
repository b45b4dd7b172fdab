/** Anthropic's Messages API: bodies in, events and whole messages out, and the count of a message's tokens. */
import { assert } from "../../base/errors.js";
import type { Answer } from "../answer.js";
import type { Gateway } from "../gateway.js";
import type { ChoicePart } from "../parts.js";
import type { Frame, Protocol } from "../protocol.js";
import type { ChatRequest } from "../requests.js";
import { anthropicErrorForm } from "./errors.js";
import { countFormat, messagesFormat, parseCount, parseMessages } from "./messages-input.js";
import { type MessageEvent, MessageWriter } from "./serialize.js";

export function messagesProtocol({ bounds }: Pick<Gateway, "bounds">): Protocol<ChatRequest> {
  const format = messagesFormat(bounds);
  return {
    route: "messages",
    read: (body) => parseMessages(format, body),
    frames: framesOf,
    async whole(answer) {
      const writer = new MessageWriter(answer);
      const events: MessageEvent[] = [];
      let last: ChoicePart | null = null;
      for await (const part of answer.parts()) {
        events.push(...writer.read(part));
        last = part;
      }
      assert(last, "an answer without a fault has parts");
      return writer.whole(events, last, await answer.ended);
    },
    errorForm: anthropicErrorForm,
    keepAlive: frameOf({ type: "ping" }),
  };
}

async function* framesOf(answer: Answer<ChatRequest>): AsyncGenerator<Frame, void, undefined> {
  const writer = new MessageWriter(answer);
  let last: ChoicePart | null = null;
  for await (const part of answer.parts()) {
    for (const event of writer.read(part)) yield frameOf(event);
    last = part;
  }
  assert(last, "an answer without a fault has parts");
  for (const event of writer.end(last, await answer.ended)) yield frameOf(event);
}

const frameOf = (event: MessageEvent): Extract<Frame, { type: "chunk" }> => ({
  type: "chunk",
  event: event.type,
  data: event,
});

/** The call that counts the tokens of a message without answering it. */
export function tokenCounter({ bounds, tokenization }: Pick<Gateway, "bounds" | "tokenization">) {
  const format = countFormat(bounds);
  return async (body: unknown, signal: AbortSignal, connection: object): Promise<{ readonly input_tokens: number }> => {
    const reading = { route: "count_tokens", read: () => parseCount(format, body) } as const;
    const { ids } = await tokenization.tokenize(reading, signal, connection);
    return { input_tokens: ids.length };
  };
}
