/** Server-sent events over one response: frames, keep-alive comments and back-pressure. */
import type { Response } from "express";
import type { LorikeetError } from "../../base/errors.js";
import type { Answer } from "../../gateway/answer.js";
import type { ErrorForm } from "../../gateway/fault.js";
import { asFault } from "../../gateway/fault.js";
import type { Frame, Protocol } from "../../gateway/protocol.js";
import type { GenerationRequest } from "../../gateway/requests.js";
import { publicFault } from "../fault.js";
import { type PumpBounds, pumpAnswer, type Sink } from "../pump.js";
import { jsonPieces } from "./json-pieces.js";
import { ResponseReader } from "./response-reader.js";

export interface StreamBounds extends PumpBounds {
  readonly streamKeepAliveIntervalMs: number;
  readonly privateFolders: readonly string[];
}

/** Sends the status at once, then every frame. An error on the way becomes the last frame and is returned. */
export async function streamAnswer<Request extends GenerationRequest>(
  protocol: Protocol<Request>,
  answer: Answer<Request>,
  res: Response,
  bounds: StreamBounds,
): Promise<LorikeetError | null> {
  res.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
  });
  res.flushHeaders();
  const sink = new EventSink(res);
  const { keepAlive: idle } = protocol;
  const idleText = idle ? `${eventLine(idle.event)}data: ${JSON.stringify(idle.data)}\n\n` : ": keep-alive\n\n";
  const keepAlive = setInterval(() => {
    if (!res.writableNeedDrain && !sink.isAmidEvent) res.write(idleText);
  }, bounds.streamKeepAliveIntervalMs);
  try {
    await pumpAnswer(answer, protocol.frames(answer), sink, bounds);
    res.end();
    return null;
  } catch (error) {
    return endWithFault(res, asFault(error), protocol.errorForm, bounds.privateFolders);
  } finally {
    clearInterval(keepAlive);
  }
}

function endWithFault(
  res: Response,
  fault: LorikeetError,
  form: ErrorForm,
  privateFolders: readonly string[],
): LorikeetError {
  const { event, body } = form(publicFault(fault, privateFolders), String(res.getHeader("x-request-id")));
  // A reader that is behind would never take the frame, so its connection is closed.
  if (res.writableNeedDrain) res.destroy();
  else res.end(`${eventLine(event)}data: ${JSON.stringify(body)}\n\n`);
  return fault;
}

const eventLine = (name: string | undefined): string => (name === undefined ? "" : `event: ${name}\n`);

class EventSink extends ResponseReader implements Sink<string> {
  #isAmidEvent = false;

  /** True while an event of several pieces is incomplete. Nothing else may be written then. */
  get isAmidEvent(): boolean {
    return this.#isAmidEvent;
  }

  *pieces(frame: Frame): Generator<string, void, undefined> {
    if (frame.type === "done") {
      if (frame.marker !== null) yield `data: ${frame.marker}\n\n`;
      return;
    }
    let before = `${eventLine(frame.event)}data: `;
    let last = "";
    for (const piece of jsonPieces(frame.data)) {
      if (last !== "") {
        this.#isAmidEvent = true;
        yield before + last;
        before = "";
      }
      last = piece;
    }
    yield `${before}${last}\n\n`;
    this.#isAmidEvent = false;
  }
}
