/** Starts the process of a job, at a low priority. */
import type { ChildProcess } from "node:child_process";
import { setPriority } from "node:os";
import { forkModule } from "../../base/processes.js";
import type { TrainingEnd, TrainingProcess, TrainingReport, TrainingRun } from "../../jobs/types.js";
import type { FromProcess, ToProcess, TrainingBase } from "./messages.js";

export function startTraining(
  base: TrainingBase,
  run: TrainingRun,
  onReport: (report: TrainingReport) => void,
): TrainingProcess {
  const child = forkModule(import.meta.url, "train-child");
  let isKilled = false;
  let mustStop = false;
  let isReady = false;
  const send = (message: ToProcess): void => {
    if (child.connected) child.send(message, () => {}); // one that has just ended hears nothing
  };
  const stop = (): void => {
    mustStop = true;
    if (isReady) send({ type: "stop" });
  };
  lowerPriority(child, base.nice);
  const ended = new Promise<TrainingEnd>((resolve) => {
    let end: TrainingEnd | null = null;
    child.on("message", (message: FromProcess) => {
      if (message.type === "end") end = message.end;
      else if (message.type === "report") onReport(message.report);
      else {
        isReady = true;
        send({ type: "start", base, run });
        if (mustStop) stop();
      }
    });
    child.once("error", (error) => resolve(endedBadly(codeOf(error))));
    child.once("close", (code, signal) => {
      if (end) resolve(end);
      else if (isKilled) resolve({ type: "stopped" });
      else resolve(signal === "SIGKILL" ? killedBySystem() : endedBadly(`${signal ?? `exit code ${code}`}`));
    });
  });
  const signal = (name: NodeJS.Signals): void => {
    if (process.platform !== "win32") child.kill(name);
  };
  return {
    ended,
    stop,
    kill: () => {
      isKilled = true;
      child.kill("SIGKILL");
    },
    suspend: () => signal("SIGSTOP"),
    proceed: () => signal("SIGCONT"),
  };
}

/** The process does the same for each of its threads once it runs; until then it would compete with requests. */
function lowerPriority({ pid }: ChildProcess, nice: number): void {
  try {
    if (pid !== undefined) setPriority(pid, nice);
  } catch {
    // It has ended, or this system has no priorities.
  }
}

/** A message of the system would name folders. */
const codeOf = (error: Error): string => ("code" in error ? String(error.code) : error.name);

const failed = (code: string, message: string): TrainingEnd => ({
  type: "failed",
  fault: { code, message, param: null },
});

const killedBySystem = (): TrainingEnd =>
  failed("out_of_memory", "The system killed the training process, most likely because memory ran out.");

const endedBadly = (how: string): TrainingEnd => failed("internal", `The training process ended early (${how}).`);
