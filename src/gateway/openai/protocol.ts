/** OpenAI's completions and chats, with vLLM's additions: bodies in, chunks and whole answers out. */
import type { SourceForms } from "../../text/source-forms.js";
import type { Answer } from "../answer.js";
import type { RequestBounds } from "../options.js";
import type { Frame, Protocol } from "../protocol.js";
import { chatFormat, parseChat } from "./chat-input.js";
import type { OpenAiRequest } from "./common-request.js";
import { completionFormat, parseCompletion } from "./completion-input.js";
import { openAiErrorForm } from "./errors.js";
import {
  type AnswerChunk,
  type LorikeetFields,
  lorikeetOf,
  Serializer,
  type SerializerContext,
  type UsageCounts,
  usageOf,
  type WholeAnswer,
} from "./serialize.js";

export type OpenAiFrame = Frame &
  (
    | { readonly type: "chunk"; readonly data: AnswerChunk }
    | { readonly type: "done"; readonly data: { readonly usage: UsageCounts; readonly lorikeet: LorikeetFields } }
  );

export interface OpenAiProtocol extends Protocol<OpenAiRequest> {
  read(body: unknown): OpenAiRequest;
  frames(answer: Answer<OpenAiRequest>): AsyncGenerator<OpenAiFrame, void, undefined>;
  whole(answer: Answer<OpenAiRequest>): Promise<WholeAnswer>;
}

export interface OpenAiProtocols {
  readonly completions: OpenAiProtocol;
  readonly chat: OpenAiProtocol;
}

export interface OpenAiContext extends SerializerContext {
  readonly bounds: RequestBounds;
  /** Of an encoder-decoder. */
  readonly sources?: SourceForms | null;
}

export function openAiProtocols(context: OpenAiContext): OpenAiProtocols {
  const { sources = null } = context;
  const completions = completionFormat(context.bounds, sources);
  const chat = chatFormat(context.bounds);
  const shared = {
    errorForm: openAiErrorForm,
    frames: (answer: Answer<OpenAiRequest>) => framesOf(answer, new Serializer(answer, context)),
    whole: async (answer: Answer<OpenAiRequest>) => {
      const serializer = new Serializer(answer, context);
      return serializer.whole(await answer.collect(), await answer.ended);
    },
  };
  return {
    completions: { route: "completions", read: (body) => parseCompletion(completions, body, sources), ...shared },
    chat: { route: "chat", read: (body) => parseChat(chat, body), ...shared },
  };
}

async function* framesOf(
  answer: Answer<OpenAiRequest>,
  serializer: Serializer,
): AsyncGenerator<OpenAiFrame, void, undefined> {
  for await (const part of answer.parts()) yield { type: "chunk", data: serializer.chunk(part) };
  const summary = await answer.ended;
  if (answer.request.includeUsage) yield { type: "chunk", data: serializer.usageChunk(summary) };
  yield { type: "done", marker: "[DONE]", data: { usage: usageOf(summary), lorikeet: lorikeetOf(summary) } };
}
