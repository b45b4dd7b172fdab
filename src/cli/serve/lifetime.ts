/**
 * Ends a service on a signal, an uncaught error or the loss of its device. Each shuts it down in order and has its own exit code.
 * A final deadline kills a process that hangs.
 */

import type { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { Terminal } from "../terminal.js";
import { exitCodes } from "../usage.js";
import { type SignalName, signalExitCode } from "./shutdown.js";

export type EndCause = SignalName | "crash" | "device-lost";

export interface Lifetime extends Disposable {
  /** Resolves on the first signal, uncaught error or loss of the device. */
  readonly end: Promise<EndCause>;
  /** 0 after a signal, nonzero after an uncaught error or the loss of the device. */
  readonly exitCode: number;
  /** The error for new requests once the device is lost; null before. */
  readonly loss: LorikeetError | null;
  /** Call it when the device is lost. */
  lose(error: LorikeetError): void;
  /** Kills the process, with its own exit code, unless it has ended within this time. */
  endWithin(limitMs: number): void;
}

/** Watches until it is disposed of, except that the deadline stays. A second signal ends the process at once. */
export function watchLifetime(terminal: Terminal, logger: Logger): Lifetime {
  let isEnding = false;
  let exitCode: number = exitCodes.ok;
  let loss: LorikeetError | null = null;
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
    get loss() {
      return loss;
    },
    lose(error) {
      loss = error;
      if (exitCode === exitCodes.ok) exitCode = exitCodes.deviceLost;
      logger.error({ err: error }, "The device was lost: shutting down");
      begin("device-lost");
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
