/** The requests of a WebSocket to a task model: `infer`, with tensors in JSON or as bytes after it, one answer for each. */
import { deferred } from "../../base/async.js";
import type { Bases } from "../../gateway/bases.js";
import { parseNamedInfer, serializeInfer } from "../../gateway/kserve/infer.js";
import { BinaryMessage } from "../../gateway/kserve/message.js";
import type { RequestSummary } from "../../gateway/observer.js";
import type { Frame } from "../../gateway/protocol.js";
import type { InferAnswer } from "../../gateway/tasks/inference.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import { PackedMessage, type SocketAnswer, type SocketRequest } from "./dialect.js";
import { faultForm, type RequestTypes } from "./lorikeet-dialect.js";
import { type AskMessage, packed } from "./message.js";
import { routedRequests } from "./routed-requests.js";

/** Those of all models that take tensors. */
export const inferRequestsOf = (bases: Bases): RequestTypes =>
  routedRequests(bases, "tensors", { infer: { route: "infer" } }, inferRequests);

function inferRequests(gateway: TaskGateway): RequestTypes {
  return { infer: { takesBytes: true, make: (ask) => inferRequest(gateway, ask) } };
}

function inferRequest(gateway: TaskGateway, { id, body, bytes }: AskMessage): SocketRequest {
  const ending = deferred<RequestSummary>();
  const read = () => {
    const message = bytes === null ? body : new BinaryMessage(body, [bytes]);
    const request = parseNamedInfer(message, gateway.signature);
    return { ...request, answer: (found: InferAnswer) => serializeInfer(request, found) };
  };
  return {
    id,
    path: "infer",
    body,
    begin: async (signal) =>
      answerOf(id, await gateway.infer({ route: "infer", read }, signal, ending.resolve), ending.promise),
    fault: faultForm(id),
    ended: ending.promise,
  };
}

/** An answer that is complete: nothing is left to pause or to cancel. */
function answerOf(id: string, result: object, ended: Promise<RequestSummary>): SocketAnswer {
  return {
    answer: { pause: () => {}, resume: () => {}, cancel: () => {}, keepsOthersWaiting: false, ended },
    frames: only({ type: "done", marker: null, data: result }),
    message: ({ data }) =>
      data instanceof BinaryMessage
        ? new PackedMessage(packed({ id, type: "result", data: data.json }, data.tensors))
        : { id, type: "result", data },
  };
}

async function* only(frame: Frame): AsyncGenerator<Frame, void, undefined> {
  yield frame;
}
