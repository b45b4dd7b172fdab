/** Pieces of Markdown and of shells that cards are made of. */
import { basename, isAbsolute } from "node:path";

/** A path as it was given. Cards are published, so of an absolute one only the last folder is told. */
export const shownPath = (path: string): string => (isAbsolute(path) ? `path/to/${basename(path)}` : path);

export const fence = (language: string, lines: readonly string[]): string =>
  [`\`\`\`${language}`, ...lines, "```"].join("\n");

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", "\\n")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** A text as one word of a shell. */
export const quoted = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

export const count = (rows: number): string => rows.toLocaleString("en-US");
