/** Copies a text and says so. */
import { useEffect, useState } from "preact/hooks";
import { Icon, type IconName } from "./icon.js";

export interface CopyButtonProps {
  readonly text: string | (() => string);
  readonly label: string;
  readonly icon?: IconName;
  /** Shows the icon alone until there is something to say. */
  readonly isCompact?: boolean;
}

export function CopyButton({ text, label, icon = "copy", isCompact = false }: CopyButtonProps) {
  const [last, setLast] = useState<{ readonly of: CopyButtonProps["text"]; readonly said: string } | null>(null);
  useEffect(() => {
    if (last === null) return;
    const timer = setTimeout(() => setLast(null), 2_000);
    return () => clearTimeout(timer);
  }, [last]);
  // What was said of one text is not true of another.
  const said = last?.of === text ? last.said : null;
  const copy = async (): Promise<void> => {
    const copied = await writeText(typeof text === "string" ? text : text());
    setLast({ of: text, said: copied ? "Copied" : "Select the text and copy it" });
  };
  const names = isCompact ? { class: "icon-button", "aria-label": label, title: label } : { class: "quiet" };
  return (
    <>
      <button type="button" {...names} onClick={copy}>
        <Icon name={icon} />
        <span>{said ?? (isCompact ? "" : label)}</span>
      </button>
      <span class="hidden" role="status">
        {said}
      </span>
    </>
  );
}

/** False where the browser does not let the page copy, as on an address without TLS. */
async function writeText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
