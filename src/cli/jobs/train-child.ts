/** The process of one job: trains as `lorikeet train` does, reports by messages, and ends with the server that started it. */
import { readdirSync, writeFileSync } from "node:fs";
import { setPriority } from "node:os";
import { exitAtOnce } from "../../runtime/exit.js";
import { endWithParent } from "../../runtime/parent-death.js";
import type { FromProcess, ToProcess } from "./messages.js";
import { train } from "./train-run.js";

const stopping = new AbortController();
const stop = (): void => stopping.abort("SIGTERM");

/** For every thread: those that Node has started do not follow the first one. */
function lowerPriority(nice: number): void {
  let threads = [0];
  try {
    threads = readdirSync("/proc/self/task").map(Number);
  } catch {
    // Not Linux.
  }
  for (const thread of threads) {
    try {
      setPriority(thread, nice);
    } catch {
      // It has ended.
    }
  }
}

/** If memory runs out, the system is to end this process rather than the server. */
function volunteerForMemory(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "1000");
  } catch {
    // Not Linux.
  }
}

function send(message: FromProcess): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected && process.send) process.send(message, undefined, {}, () => resolve());
    else resolve();
  });
}

volunteerForMemory();
endWithParent();
process.on("SIGINT", () => {}); // a terminal sends it to the server too, which decides
process.on("SIGTERM", stop);
process.on("disconnect", stop); // the server is gone
process.on("message", (message: ToProcess) => {
  if (message.type === "stop") return stop();
  lowerPriority(message.base.nice);
  const report = (each: Extract<FromProcess, { type: "report" }>["report"]): void =>
    void send({ type: "report", report: each });
  void train(message.base, message.run, report, stopping.signal)
    .then((end) => send({ type: "end", end }))
    .then(() => exitAtOnce(0));
});
await send({ type: "ready" });
