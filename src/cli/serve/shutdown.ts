/** Turns signals into an orderly end: the first asks for it, the second does not wait. */

import type { Terminal } from "../terminal.js";

export type SignalName = "SIGINT" | "SIGTERM";

export interface Shutdown extends Disposable {
  /** Aborted by the first signal, with its name as the reason. */
  readonly signal: AbortSignal;
  /** Resolves at the first signal. */
  readonly requested: Promise<SignalName>;
}

/** As shells count: 130 after SIGINT, 143 after SIGTERM. */
export function signalExitCode(signal: SignalName): number {
  return signal === "SIGINT" ? 130 : 143;
}

/** What a command says that a signal has ended before it was done. */
export function cancelledLine(signal: SignalName): string {
  return `lorikeet: cancelled by ${signal}`;
}

/** Listens until it is disposed of. */
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
