/** How two answers to one input differ, in a sentence. */
import type { TaskResult } from "../client/tasks.js";

export interface Answered {
  readonly model: string;
  readonly result: TaskResult;
}

interface Gist {
  readonly verb: "say" | "find" | "mark" | "write";
  readonly what: string;
}

/** null where only the answers themselves tell, such as two translations. */
export function differenceOf(first: Answered, second: Answered): string | null {
  const [one, other] = [gistOf(first.result), gistOf(second.result)];
  if (!one || !other) return null;
  if (one.what === other.what) return `Both ${one.verb} ${one.what}.`;
  if (one.verb === "write") return null;
  return `They differ: ${first.model} ${one.verb}s ${one.what}, ${second.model} ${other.verb}s ${other.what}.`;
}

function gistOf(result: TaskResult): Gist | null {
  switch (result.kind) {
    case "labels": {
      const [top] = [...result.labels].sort((a, b) => b.score - a.score);
      return top ? { verb: "say", what: `“${top.label}”` } : null;
    }
    case "boxes":
      return { verb: "find", what: countOf(result.boxes) };
    case "spans":
      return { verb: "mark", what: countOf(result.spans) };
    case "text":
      return { verb: "write", what: `“${result.text}”` };
    default:
      return null;
  }
}

/** Which labels, whatever their order. */
function countOf(found: readonly { readonly label: string }[]): string {
  if (found.length === 0) return "nothing";
  const labels = found.map(({ label }) => `“${label}”`).sort();
  return labels.length > 6 ? `${labels.length} things` : labels.join(", ");
}
