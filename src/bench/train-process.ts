/** Runs a training case in its own process, so that its peak memory is measured alone. */

import { once } from "node:events";
import { LorikeetError } from "../base/errors.js";
import { forkModule } from "../base/processes.js";
import type { TrainCase, TrainMeasured } from "./train-case.js";
import type { TrainAnswer } from "./train-main.js";

/** Throws `internal` with the reason if the run fails. */
export async function measureInProcess(what: TrainCase): Promise<TrainMeasured> {
  const child = forkModule(import.meta.url, "train-main");
  const gone = once(child, "exit").then(([code, signal]) => {
    throw new LorikeetError("internal", `The benchmark's training run ended early (${code ?? signal}).`);
  });
  gone.catch(() => {});
  try {
    await Promise.race([once(child, "message"), gone]);
    const answered = once(child, "message");
    child.send(what);
    const [answer]: TrainAnswer[] = await Promise.race([answered, gone]);
    if (!answer?.ok) throw new LorikeetError("internal", `The benchmark's training run failed: ${answer?.reason}`);
    return answer.measured;
  } finally {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      child.disconnect();
      await ended;
    }
  }
}
