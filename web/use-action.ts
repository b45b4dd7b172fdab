/** What the buttons of a card ask of the server. */
import { useRef } from "preact/hooks";
import { noteFailure } from "./session.js";

/** Runs an action, unless one of the same name is under way: a second press asks for nothing twice. */
export type RunAction = (name: string, action: () => Promise<unknown>) => Promise<void>;

/** `onFault` gets null when an action begins, and what it failed with. Buttons stay enabled: a disabled one would lose the focus. */
export function useAction(onFault: (fault: string | null) => void): RunAction {
  const running = useRef(new Set<string>());
  return async (name, action) => {
    if (running.current.has(name)) return;
    running.current.add(name);
    onFault(null);
    try {
      await action();
    } catch (error) {
      onFault(noteFailure(error));
    } finally {
      running.current.delete(name);
    }
  };
}
