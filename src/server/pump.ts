/** Carries an answer to a reader: what SSE and WebSocket have in common. A slow reader pauses its own generation, and is given up after a while. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { LorikeetError } from "../base/errors.js";
import type { Answer, AnswerPart } from "../gateway/answer.js";
import { type ReaderBounds, slowReaderFault } from "./http/send.js";

export interface Sink<Piece> {
  /** A part as it is sent: in one piece, or in several where it is large. They are written one after another. */
  pieces(part: AnswerPart): Iterable<Piece>;
  /** False when the reader is behind: await `drained` before the next piece. */
  write(piece: Piece): boolean;
  /** Resolves when the reader has caught up or is gone. */
  drained(): Promise<void>;
}

/** Throws the LorikeetError that ended the answer; `timeout` when the reader was behind for `slowReaderMs`. */
export async function pumpAnswer<Piece>(answer: Answer, sink: Sink<Piece>, bounds: ReaderBounds): Promise<void> {
  for await (const part of answer.parts()) {
    let isFirst = true;
    for (const piece of sink.pieces(part)) {
      if (!isFirst) await nextTurn();
      isFirst = false;
      if (sink.write(piece)) continue;
      answer.pause();
      if (await within(sink.drained(), bounds.slowReaderMs)) answer.resume();
      else throw giveUp(answer, bounds);
    }
  }
}

function giveUp(answer: Answer, { slowReaderMs, onLimit }: ReaderBounds): LorikeetError {
  const fault = slowReaderFault(slowReaderMs);
  answer.cancel(fault);
  onLimit?.("slow-reader");
  return fault;
}

/** Whether the work was done in time. */
async function within(work: Promise<void>, limitMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const expiry = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), limitMs);
  });
  try {
    return await Promise.race([work.then(() => true), expiry]);
  } finally {
    clearTimeout(timer);
  }
}
