/** Commands or a program to copy. */
import { CopyButton } from "./copy-button.js";

export function Code({ text }: { readonly text: string }) {
  return (
    <div class="code">
      <pre tabIndex={0}>{text}</pre>
      <CopyButton text={text} label="Copy" />
    </div>
  );
}
