/** A view that takes what is dropped on it, and shows so while something is dragged over it. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

export interface DropAreaProps {
  readonly label: string;
  readonly canDrop?: boolean;
  readonly onDrop: (transfer: DataTransfer) => void;
  readonly children: ComponentChildren;
}

export function DropArea({ label, canDrop = true, onDrop, children }: DropAreaProps) {
  const [isOver, setOver] = useState(false);
  return (
    <section
      class={`drop-area ${isOver ? "over" : ""}`}
      aria-label={label}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(canDrop);
      }}
      onDragLeave={({ currentTarget, relatedTarget }) => {
        if (!(relatedTarget instanceof Node && currentTarget.contains(relatedTarget))) setOver(false);
      }}
      // A dialog inside may keep what is dropped on it to itself.
      onDropCapture={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        if (canDrop && event.dataTransfer) onDrop(event.dataTransfer);
      }}
    >
      {children}
    </section>
  );
}
