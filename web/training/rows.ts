/** A look at a file of rows before it is sent. The server alone decides whether it can train on them. */

export interface RowsPreview {
  readonly count: number;
  readonly first: readonly string[];
  /** Whether the first row is a pair of preferences. */
  readonly isPreferences: boolean;
}

const mostShown = 3;

export async function readRows(file: Blob): Promise<RowsPreview> {
  const lines = (await file.text()).split("\n").filter((line) => line.trim() !== "");
  const first = lines.slice(0, mostShown);
  return { count: lines.length, first: first.map(indented), isPreferences: /"preferred_output"/.test(first[0] ?? "") };
}

function indented(line: string): string {
  try {
    return JSON.stringify(JSON.parse(line), null, 2);
  } catch {
    return line;
  }
}
