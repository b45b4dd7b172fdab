/** A text of several lines. */
import { isSend } from "./keys.js";

export interface TextAreaProps {
  readonly label: string;
  readonly value: string;
  readonly rows: number;
  /** Of the stylesheet. */
  readonly kind?: string;
  readonly maxLength?: number;
  readonly placeholder?: string;
  readonly onInput: (value: string) => void;
  /** Ctrl+Enter sends the form. */
  readonly onSend?: () => void;
}

export function TextArea({ label, kind, onInput, onSend, ...field }: TextAreaProps) {
  return (
    <label>
      {label}
      <textarea
        {...field}
        class={kind}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
        onKeyDown={(event) => {
          if (!onSend || !isSend(event)) return;
          event.preventDefault();
          onSend();
        }}
      />
    </label>
  );
}
