/** Copies a text and says so. */
import { useState } from "preact/hooks";
import { Icon, type IconName } from "./icon.js";

export function CopyButton({
  text,
  label,
  icon = "copy",
}: {
  text: string | (() => string);
  label: string;
  icon?: IconName;
}) {
  const [said, setSaid] = useState<string | null>(null);
  const copy = async (): Promise<void> => {
    const copied = await writeText(typeof text === "string" ? text : text());
    setSaid(copied ? "Copied" : "Select the text and copy it");
    setTimeout(() => setSaid(null), 2_000);
  };
  return (
    <button type="button" class="quiet" onClick={copy}>
      <Icon name={icon} />
      <span role="status">{said ?? label}</span>
    </button>
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
