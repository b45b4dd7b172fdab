/** The messages of `/v1/ws`: completions and chats under ids that the client chooses, and cancelling one. */
import type { PublicFault } from "../../gateway/fault.js";
import type { Gateway } from "../../gateway/gateway.js";
import { openAiError } from "../../gateway/openai/errors.js";
import type { OpenAiProtocols } from "../../gateway/openai/protocol.js";
import { binaryFault, requireStream, type SocketDialect, type SocketMessage, type SocketRequest } from "./dialect.js";
import { parseMessage, type SocketMessage as Sent } from "./message.js";

type Ask = Exclude<Sent, { type: "cancel" }>;

export function lorikeetDialect(gateway: Gateway, protocols: OpenAiProtocols): SocketDialect {
  return {
    read: (text): SocketMessage => {
      const parsed = text === null ? { id: null, fault: binaryFault() } : parseMessage(text);
      if ("fault" in parsed) return { type: "fault", fault: parsed.fault, form: faultForm(parsed.id) };
      const { message } = parsed;
      if (message.type === "cancel") return message;
      return { type: "request", request: requestOf(message, gateway, protocols) };
    },
  };
}

function requestOf(ask: Ask, gateway: Gateway, { completions, chat }: OpenAiProtocols): SocketRequest {
  const { id, body } = ask;
  const protocol = ask.type === "completions" ? completions : chat;
  return {
    id,
    path: ask.type,
    body,
    begin: async (signal, connection) => {
      requireStream(body);
      const reading = { route: protocol.route, read: () => protocol.read({ ...body, stream: true }) };
      const answer = await gateway.complete(reading, signal, connection);
      return { answer, frames: protocol.frames(answer), message: ({ type, data }) => ({ id, type, data }) };
    },
    fault: faultForm(id),
  };
}

const faultForm = (id: string | null) => (fault: PublicFault) => ({ id, type: "error", ...openAiError(fault) });
