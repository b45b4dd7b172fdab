/** The messages of `/v1/ws`: requests of several types under ids that the client chooses, and cancelling one. */
import { assert } from "../../base/errors.js";
import type { PublicFault } from "../../gateway/fault.js";
import { openAiError } from "../../gateway/openai/errors.js";
import { binaryFault, type SocketDialect, type SocketMessage, type SocketRequest } from "./dialect.js";
import { type AskMessage, messageParser } from "./message.js";

export interface RequestType {
  /** Whether its messages may be binary ones. */
  readonly takesBytes: boolean;
  make(ask: AskMessage): SocketRequest;
}

/** By the `type` of their messages. */
export type RequestTypes = Readonly<Record<string, RequestType>>;

export function lorikeetDialect(types: RequestTypes): SocketDialect {
  const parse = messageParser(Object.keys(types));
  const takesBytes = Object.values(types).some((type) => type.takesBytes);
  return {
    read: (sent): SocketMessage => {
      const parsed = typeof sent === "string" || takesBytes ? parse(sent) : { id: null, fault: binaryFault() };
      if ("fault" in parsed) return { type: "fault", fault: parsed.fault, form: faultForm(parsed.id) };
      const { message } = parsed;
      if (!("body" in message)) return message;
      const type = types[message.type];
      assert(type, "the parser knows the types");
      if (message.bytes === null || type.takesBytes) return { type: "request", request: type.make(message) };
      return { type: "fault", fault: binaryFault(), form: faultForm(message.id) };
    },
  };
}

export const faultForm = (id: string | null) => (fault: PublicFault) => ({ id, type: "error", ...openAiError(fault) });
