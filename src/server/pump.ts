/** Carries an answer to a reader: what SSE and WebSocket have in common. A slow reader pauses its own generation, and is given up after a while. */
import { LorikeetError } from "../base/errors.js";
import type { Answer, AnswerPart } from "../gateway/answer.js";

export interface Sink {
  /** False when the reader is behind: await `drained` before the next part. */
  write(part: AnswerPart): boolean;
  /** Resolves when the reader has caught up or is gone. */
  drained(): Promise<void>;
}

/** Throws the LorikeetError that ended the answer; `timeout` when the reader was behind for `slowReaderMs`. */
export async function pumpAnswer(answer: Answer, sink: Sink, slowReaderMs: number): Promise<void> {
  for await (const part of answer.parts()) {
    if (sink.write(part)) continue;
    answer.pause();
    if (await within(sink.drained(), slowReaderMs)) answer.resume();
    else throw giveUp(answer, slowReaderMs);
  }
}

function giveUp(answer: Answer, slowReaderMs: number): LorikeetError {
  const message = `The reader did not read for ${slowReaderMs} ms, so its request was ended.`;
  const fault = new LorikeetError("timeout", message, { allowed: slowReaderMs });
  answer.cancel(fault);
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
