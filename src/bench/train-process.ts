/** A training run in a process of its own, whose peak of memory is its own too. */

import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { LorikeetError } from "../base/errors.js";
import type { TrainCase, TrainMeasured } from "./train-case.js";
import type { TrainAnswer } from "./train-main.js";

/** Throws `internal` with the run's reason when it fails. */
export async function measureInProcess(what: TrainCase): Promise<TrainMeasured> {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const entry = fileURLToPath(new URL(`./train-main.${extension}`, import.meta.url));
  // What loads sources here loads them there; a test runner's own flags are not for it.
  const execArgv = process.execArgv.filter((argument) => !argument.startsWith("--test"));
  const child = fork(entry, { execArgv, stdio: ["ignore", "inherit", "inherit", "ipc"] });
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
