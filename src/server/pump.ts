/** Carries an answer to a reader: what SSE and WebSocket have in common. A slow reader pauses its own generation, and is given up after a while. */
import type { LorikeetError } from "../base/errors.js";
import type { Answer, AnswerPart } from "../gateway/answer.js";
import { type ReaderBounds, slowReaderFault } from "./send.js";

export interface Sink {
  /** False when the reader is behind: await `drained` before the next part. */
  write(part: AnswerPart): boolean;
  /** Resolves when the reader has caught up or is gone. */
  drained(): Promise<void>;
}

/** Throws the LorikeetError that ended the answer; `timeout` when the reader was behind for `slowReaderMs`. */
export async function pumpAnswer(answer: Answer, sink: Sink, bounds: ReaderBounds): Promise<void> {
  for await (const part of answer.parts()) {
    if (sink.write(part)) continue;
    answer.pause();
    if (await within(sink.drained(), bounds.slowReaderMs)) answer.resume();
    else throw giveUp(answer, bounds);
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
