/** Runs a training case in its own process, so that its peak memory is measured alone. */

import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { LorikeetError } from "../base/errors.js";
import type { TrainCase, TrainMeasured } from "./train-case.js";
import type { TrainAnswer } from "./train-main.js";

/** Throws `internal` with the reason if the run fails. */
export async function measureInProcess(what: TrainCase): Promise<TrainMeasured> {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const entry = fileURLToPath(new URL(`./train-main.${extension}`, import.meta.url));
  // Pass on the flags that load sources, but not those of the test runner.
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
