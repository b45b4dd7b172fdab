/**
 * Ends a service on a signal or an uncaught error. Both shut it down in order, with different exit codes. A final deadline ends
 * whatever hangs.
 */

import type { Logger } from "../../base/log.js";
import type { Terminal } from "../terminal.js";
import { exitCodes } from "../usage.js";
import { type SignalName, signalExitCode } from "./shutdown.js";

export type EndCause = SignalName | "crash";

export interface Lifetime extends Disposable {
  /** Resolves on the first signal or uncaught error. */
  readonly end: Promise<EndCause>;
  /** 0 after a signal, nonzero after an uncaught error. */
  readonly exitCode: number;
  /** Kills the process, with its own exit code, unless it has ended within this time. */
  endWithin(limitMs: number): void;
}

/** Watches until it is disposed of, except that the deadline stays. A second signal ends the process at once. */
export function watchLifetime(terminal: Terminal, logger: Logger): Lifetime {
  let isEnding = false;
  let exitCode: number = exitCodes.ok;
  let resolveEnd: (cause: EndCause) => void = () => {};
  const end = new Promise<EndCause>((resolve) => {
    resolveEnd = resolve;
  });
  const begin = (cause: EndCause): void => {
    isEnding = true;
    resolveEnd(cause);
  };
  const stopSignals = terminal.onSignal((name) => {
    if (isEnding) terminal.exitNow(signalExitCode(name));
    else begin(name);
  });
  const stopCrashes = terminal.onCrash((error) => {
    exitCode = exitCodes.internal;
    logger.error({ err: error }, "Uncaught error: shutting down");
    begin("crash");
  });
  return {
    end,
    get exitCode() {
      return exitCode;
    },
    endWithin(limitMs) {
      const cut = (): void => {
        logger.error({ limitMs }, "Shutdown took too long: the process is killed");
        terminal.exitNow(exitCode === exitCodes.ok ? exitCodes.overdue : exitCode);
      };
      setTimeout(cut, limitMs).unref();
    },
    [Symbol.dispose]: () => {
      stopSignals();
      stopCrashes();
    },
  };
}
