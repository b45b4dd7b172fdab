/**
 * When a service ends: at a signal, or at a fault that nobody caught. Both are the same orderly end with different exit codes,
 * and a last deadline holds whatever hangs meanwhile.
 */

import type { Logger } from "../../base/log.js";
import type { Terminal } from "../terminal.js";
import { exitCodes } from "../usage.js";
import { type SignalName, signalExitCode } from "./shutdown.js";

export type EndCause = SignalName | "crash";

export interface Lifetime extends Disposable {
  /** Resolves at the first signal or uncaught fault. */
  readonly end: Promise<EndCause>;
  /** 0 after a signal; another once anything was not caught. */
  readonly exitCode: number;
  /** From now on the process has so long to end by itself; then it is ended, by force and with a code of its own. */
  endWithin(limitMs: number): void;
}

/** Watches until it is disposed of, except for the deadline, which stays. A second signal does not wait. */
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
    logger.error({ err: error }, "A fault that nobody caught: the server shuts down");
    begin("crash");
  });
  return {
    end,
    get exitCode() {
      return exitCode;
    },
    endWithin(limitMs) {
      const cut = (): void => {
        logger.error({ limitMs }, "The server did not end in time and is cut off");
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
