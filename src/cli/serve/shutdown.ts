/** Shutdown by signal: the first requests it, the second ends the process at once. */

import type { Terminal } from "../terminal.js";

export type SignalName = "SIGINT" | "SIGTERM";

export interface Shutdown extends Disposable {
  /** Aborted on the first signal, with its name as the reason. */
  readonly signal: AbortSignal;
  /** Resolves on the first signal. */
  readonly requested: Promise<SignalName>;
}

/** As in shells: 130 after SIGINT, 143 after SIGTERM. */
export function signalExitCode(signal: SignalName): number {
  return signal === "SIGINT" ? 130 : 143;
}

/** Printed by a command that a signal has ended early. */
export function cancelledLine(signal: SignalName): string {
  return `lorikeet: cancelled by ${signal}`;
}

/** Listens until disposed of. */
export function listenForShutdown(terminal: Terminal): Shutdown {
  const controller = new AbortController();
  let resolveRequested: (signal: SignalName) => void = () => {};
  const requested = new Promise<SignalName>((resolve) => {
    resolveRequested = resolve;
  });
  const stop = terminal.onSignal((name) => {
    if (controller.signal.aborted) return terminal.exitNow(signalExitCode(name));
    controller.abort(name);
    resolveRequested(name);
  });
  return { signal: controller.signal, requested, [Symbol.dispose]: stop };
}
