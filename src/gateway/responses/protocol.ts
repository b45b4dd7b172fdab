/** OpenAI's Responses: a body in, the events of a stream or a whole response out. */
import type { LorikeetError } from "../../base/errors.js";
import type { Answer } from "../answer.js";
import { asFault, type PublicFault } from "../fault.js";
import { openAiErrorForm } from "../openai/errors.js";
import type { SerializerContext } from "../openai/serialize.js";
import type { RequestBounds } from "../options.js";
import type { Frame, Protocol } from "../protocol.js";
import { type ResponseEvent, ResponseEvents } from "./events.js";
import { parseResponse, type ResponsesRequest, responsesFormat } from "./input.js";

export interface ResponsesContext extends Pick<SerializerContext, "tokenizer"> {
  readonly bounds: RequestBounds;
}

/** `publish` makes a fault fit for clients: a stream that fails ends with a response that says why. */
export function responsesProtocol(
  { bounds, tokenizer }: ResponsesContext,
  publish: (fault: LorikeetError) => PublicFault,
): Protocol<ResponsesRequest> {
  const format = responsesFormat(bounds);
  return {
    route: "responses",
    read: (body) => parseResponse(format, body),
    frames: (answer) => framesOf(answer, new ResponseEvents(answer, tokenizer), publish),
    whole: (answer) => wholeOf(answer, new ResponseEvents(answer, tokenizer)),
    errorForm: openAiErrorForm,
  };
}

async function* framesOf(
  answer: Answer<ResponsesRequest>,
  events: ResponseEvents,
  publish: (fault: LorikeetError) => PublicFault,
): AsyncGenerator<Frame, void, undefined> {
  try {
    yield* framed(events.begin());
    for await (const part of answer.parts()) yield* framed(events.take(part));
    yield* framed(events.end(await answer.ended));
  } catch (error) {
    yield* framed([events.fail(publish(asFault(error)))]);
  }
  yield { type: "done", marker: null, data: {} };
}

function* framed(events: Iterable<ResponseEvent>): Generator<Frame, void, undefined> {
  for (const event of events) yield { type: "chunk", event: event.type, data: event };
}

async function wholeOf(answer: Answer<ResponsesRequest>, events: ResponseEvents): Promise<object> {
  for await (const part of answer.parts()) exhaust(events.take(part));
  const { response } = exhaust(events.end(await answer.ended));
  return response;
}

/** What a generator returns, without what it yields. */
function exhaust<Result>(steps: Generator<unknown, Result, undefined>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}
