/** Asks before something that cannot be undone. Takes the place of the buttons, and the focus that was on one of them. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface ConfirmationProps {
  /** What is asked, in a few words. */
  readonly label: string;
  /** What goes on as it was. */
  readonly keep: string;
  /** What cannot be undone. */
  readonly confirm: string;
  readonly onKeep: () => void;
  readonly onConfirm: () => void;
  /** The question. */
  readonly children: ComponentChildren;
}

export function Confirmation({ label, keep, confirm, onKeep, onConfirm, children }: ConfirmationProps) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => button.current?.focus(), []);
  return (
    <div
      class="actions"
      role="alertdialog"
      aria-label={label}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        // Otherwise the browser closes the dialog around it.
        event.preventDefault();
        onKeep();
      }}
    >
      <p class="grow">{children}</p>
      <button type="button" ref={button} onClick={onKeep}>
        {keep}
      </button>
      <button type="button" class="danger" onClick={onConfirm}>
        {confirm}
      </button>
    </div>
  );
}
