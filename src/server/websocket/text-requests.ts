/** The requests of a WebSocket to a model that generates text: completions and chats, always streamed. */
import { type Bases, generatesChats, generatesText } from "../../gateway/bases.js";
import type { Gateway } from "../../gateway/gateway.js";
import { type OpenAiProtocol, type OpenAiProtocols, openAiProtocols } from "../../gateway/openai/protocol.js";
import { requireStream } from "./dialect.js";
import { faultForm, type RequestType, type RequestTypes } from "./lorikeet-dialect.js";
import { routedRequests } from "./routed-requests.js";

const routes = {
  completions: { route: "completions", fits: generatesText },
  "chat.completions": { route: "chat", fits: generatesChats },
} as const;

/** Those of all bases that generate text. */
export const textRequestsOf = (bases: Bases): RequestTypes =>
  routedRequests(bases, "text", routes, (gateway) => textRequests(gateway, openAiProtocols(gateway)));

function textRequests(gateway: Gateway, { completions, chat }: OpenAiProtocols): RequestTypes {
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
