/** A modal dialog: the browser keeps the focus in it and closes it with Escape. However it ends, the focus goes back to where it came from. */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { passFocusOn } from "./focus.js";
import { Icon } from "./icon.js";

export interface DialogProps {
  readonly title: string;
  readonly kind?: "drawer" | "box";
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}

export function Dialog({ title, kind = "box", onClose, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  // Before the browser paints: no key reaches a dialog that is not open yet.
  useLayoutEffect(() => {
    const opener = document.activeElement;
    element.current?.showModal();
    return () => passFocusOn(opener);
  }, []);
  return (
    <dialog class={kind} ref={element} aria-label={title} onClose={onClose}>
      <header>
        <h2 class="grow">{title}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick={() => element.current?.close()}>
          <Icon name="close" />
        </button>
      </header>
      {children}
    </dialog>
  );
}
