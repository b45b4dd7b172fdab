/** Sends each request of a WebSocket to the base that its body names. */
import { at } from "../../base/list.js";
import { modelInBody } from "../../gateway/asked-name.js";
import type { Bases, Face, Faces, Fits } from "../../gateway/bases.js";
import type { Route } from "../../gateway/observer.js";
import type { SocketRequest } from "./dialect.js";
import { faultForm, type RequestType, type RequestTypes } from "./lorikeet-dialect.js";
import type { AskMessage } from "./message.js";

export interface SocketRoute<F extends Face> {
  /** What a request counts as that reaches no base. */
  readonly route: Route;
  /** Default: every gateway with the face. */
  readonly fits?: Fits<F>;
}

/** The types of requests that the bases with a face take. */
export function routedRequests<F extends Face>(
  bases: Bases,
  face: F,
  routes: Readonly<Record<string, SocketRoute<F>>>,
  typesOf: (gateway: NonNullable<Faces[F]>) => RequestTypes,
): RequestTypes {
  const gateways = bases.with(face);
  const types = gateways.map(typesOf);
  const routedType = (name: string, { takesBytes }: RequestType): RequestType => ({
    takesBytes,
    make: (ask) => {
      try {
        const { route = null, fits } = routes[name] ?? {};
        const index = gateways.indexOf(bases.pick(face, modelInBody(ask.body), route, fits));
        return at(types, index)[name]?.make(ask) ?? unanswered(ask, null);
      } catch (error) {
        return unanswered(ask, error);
      }
    },
  });
  return Object.fromEntries(Object.entries(types[0] ?? {}).map(([name, type]) => [name, routedType(name, type)]));
}

function unanswered({ id, type, body }: AskMessage, error: unknown): SocketRequest {
  return { id, path: type, body, begin: () => Promise.reject(error), fault: faultForm(id) };
}
