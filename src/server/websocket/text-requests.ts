/** The requests of a WebSocket to a model that generates text: completions and chats, always streamed. */
import type { Gateway } from "../../gateway/gateway.js";
import type { OpenAiProtocol, OpenAiProtocols } from "../../gateway/openai/protocol.js";
import { requireStream } from "./dialect.js";
import { faultForm, type RequestType, type RequestTypes } from "./lorikeet-dialect.js";

export function textRequests(gateway: Gateway, { completions, chat }: OpenAiProtocols): RequestTypes {
  return { completions: streamed(gateway, completions), "chat.completions": streamed(gateway, chat) };
}

function streamed(gateway: Gateway, protocol: OpenAiProtocol): RequestType {
  return {
    takesBytes: false,
    make: ({ id, type: path, body }) => ({
      id,
      path,
      body,
      begin: async (signal, connection) => {
        requireStream(body);
        const reading = { route: protocol.route, read: () => protocol.read({ ...body, stream: true }) };
        const answer = await gateway.complete(reading, signal, connection);
        return { answer, frames: protocol.frames(answer), message: ({ type, data }) => ({ id, type, data }) };
      },
      fault: faultForm(id),
    }),
  };
}
