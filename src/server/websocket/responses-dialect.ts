/**
 * The messages of a WebSocket at `/v1/responses`, as the `ResponsesWS` of OpenAI's package speaks them: `response.create` with the fields of
 * a body, and the events of the response. Responses run side by side, so each event names its response.
 */
import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { modelInBody } from "../../gateway/asked-name.js";
import { type Bases, generatesChats } from "../../gateway/bases.js";
import type { PublicFault } from "../../gateway/fault.js";
import { openAiError } from "../../gateway/openai/errors.js";
import { LatestResponse } from "../../gateway/responses/latest.js";
import type { Responses } from "../../gateway/responses/responses.js";
import { wellFormed } from "../../text/characters.js";
import { notJson } from "../fault.js";
import { binaryFault, requireStream, type SocketDialect, type SocketMessage, type SocketRequest } from "./dialect.js";

/** The client's name of a message, which its faults repeat. */
const eventId = v.pipe(v.string(), v.minLength(1), v.maxLength(128), v.transform(wellFormed));
const schema = v.looseObject({ type: v.literal("response.create"), event_id: v.nullish(eventId) });
const named = v.object({ event_id: eventId });

export function responsesDialect(bases: Bases, responses: Responses, owner: string): SocketDialect {
  const latest = new LatestResponse();
  let count = 0;
  const requestOf = (body: Json, form: FaultForm): SocketRequest => ({
    id: String(++count),
    path: "responses",
    body,
    begin: async (signal, connection) => {
      requireStream(body);
      requireForeground(body);
      const gateway = bases.pick("text", modelInBody(body), "responses", generatesChats);
      const protocol = responses.protocol(gateway, owner, latest);
      const reading = { route: protocol.route, read: () => protocol.read({ ...body, stream: true }) };
      const answer = await gateway.complete(reading, signal, connection);
      const response_id = answer.request.form.id;
      return {
        answer,
        frames: protocol.frames(answer),
        message: (frame) => (frame.type === "chunk" ? { ...frame.data, response_id } : null),
      };
    },
    fault: form,
  });
  return {
    read: (text): SocketMessage => {
      if (typeof text !== "string") return { type: "fault", fault: binaryFault(), form: faultForm(null) };
      const value = parsed(text);
      if (value instanceof LorikeetError) return { type: "fault", fault: value, form: faultForm(null) };
      const result = v.safeParse(schema, value);
      if (!result.success) return { type: "fault", fault: formFault(), form: faultForm(eventIdOf(value)) };
      const { type: _, event_id, ...body } = result.output;
      return { type: "request", request: requestOf(body, faultForm(event_id ?? null)) };
    },
  };
}

function requireForeground({ background }: Json): void {
  if (background !== true) return;
  const message = "`background` must be false or absent: a WebSocket runs no responses in the background.";
  throw new LorikeetError("invalid_value", message, { param: "background" });
}

type FaultForm = (fault: PublicFault) => object;

/** OpenAI's error event, with the error of its HTTP answers in it too. */
function faultForm(event_id: string | null): FaultForm {
  return (fault) => {
    const { status, code, message, param } = fault;
    return {
      type: "error",
      event_id,
      response_id: null,
      sequence_number: 0,
      status,
      code,
      message,
      param,
      ...openAiError(fault),
    };
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return new LorikeetError("invalid_value", notJson("message", text));
  }
}

function eventIdOf(value: unknown): string | null {
  const result = v.safeParse(named, isObject(value) ? value : {});
  return result.success ? result.output.event_id : null;
}

function formFault(): LorikeetError {
  const message =
    'A message must be {"type":"response.create", ...} with the parameters of `POST /v1/responses`, and maybe an `event_id` of 1 to 128 characters.';
  return new LorikeetError("invalid_value", message, { param: "type" });
}
