/** Sends an answer to a client, by SSE or WebSocket. A slow client pauses its own generation, and is disconnected after a while. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Answer } from "../gateway/answer.js";
import { asFault } from "../gateway/fault.js";
import type { Frame } from "../gateway/protocol.js";
import { type Reader, type ReaderBounds, ReaderPace, type Scarce } from "./reader-pace.js";

export interface Sink<Piece> extends Reader {
  /** A frame as it is sent: in one piece, or in several where it is large, which are written one after another. */
  pieces(frame: Frame): Iterable<Piece>;
  /** False when the reader is behind: await `drained` before the next piece. */
  write(piece: Piece): boolean;
}

export interface PumpBounds extends ReaderBounds, Pick<Scarce, "slowReaderSlotTimeoutMs"> {}

/** Throws the LorikeetError that ended the answer; `timeout` when the reader was too slow. */
export async function pumpAnswer<Piece>(
  answer: Pick<Answer, "pause" | "resume" | "cancel" | "keepsOthersWaiting">,
  frames: AsyncIterable<Frame>,
  sink: Sink<Piece>,
  bounds: PumpBounds,
): Promise<void> {
  const pace = new ReaderPace(bounds);
  const { slowReaderSlotTimeoutMs } = bounds;
  const slot: Scarce = { slowReaderSlotTimeoutMs, isWanted: () => answer.keepsOthersWaiting };
  for await (const frame of frames) {
    let isFirst = true;
    for (const piece of sink.pieces(frame)) {
      if (!isFirst) await nextTurn();
      isFirst = false;
      if (sink.write(piece)) continue;
      answer.pause();
      try {
        await pace.catchUp(sink, slot);
      } catch (error) {
        answer.cancel(asFault(error));
        throw error;
      }
      answer.resume();
    }
  }
}
