/** A look at a file of rows before it is sent. The server alone decides whether it can train on them. */

export interface RowsPreview {
  /** null for a file of which only the beginning was read. */
  readonly count: number | null;
  readonly first: readonly string[];
  /** Whether the first row is a pair of preferences. */
  readonly isPreferences: boolean;
}

const mostShown = 3;
const mostBytes = 2 ** 20;
export const mostSuffixLength = 64;

export async function readRows(file: Blob): Promise<RowsPreview> {
  const lines = (await file.slice(0, mostBytes).text()).split("\n");
  const isWhole = file.size <= mostBytes;
  // The last line may be a part of a row; of a longer row, that part is all there is to show.
  if (!isWhole && lines.length > 1) lines.pop();
  const rows = lines.filter((line) => line.trim() !== "");
  const first = rows.slice(0, mostShown);
  return {
    count: isWhole ? rows.length : null,
    first: first.map(indented),
    isPreferences: /"preferred_output"/.test(first[0] ?? ""),
  };
}

function indented(line: string): string {
  try {
    return JSON.stringify(JSON.parse(line), null, 2);
  } catch {
    return line;
  }
}

/** A suffix that jobs accept, after the name of a file: letters, digits, `_` and `-`, of which the first is a letter or a digit. */
export const suffixOf = (fileName: string): string =>
  fileName
    .replace(/\.\w+$/, "")
    .replace(/[^\w-]+/g, "-")
    .replace(/^[_-]+/, "")
    .slice(0, mostSuffixLength)
    .replace(/-+$/, "");
