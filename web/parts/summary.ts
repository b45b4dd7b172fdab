/** What a README says first, the first sentence of its first paragraph, and its sections. Untrusted text, shown as text. */

const mostCharacters = 240;
/** Headings, tables, lists, quotes, pictures, rules and code say nothing in a sentence. */
const noProse = /^(#|\||[-*+>] |\d+\. |!\[|---|```|<)/;

/** null where there is none. `readme`: Markdown without its front matter. */
export function summaryOf(readme: string | null): string | null {
  const paragraphs = (readme ?? "").split(/\r?\n\s*\r?\n/).map((paragraph) => paragraph.trim());
  const first = paragraphs.find((paragraph) => paragraph !== "" && !noProse.test(paragraph));
  if (first === undefined) return null;
  const plain = first
    .replace(/\s+/g, " ")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/[`*]/g, "");
  const sentence = /^.*?[.!?](?= |$)/.exec(plain)?.[0] ?? plain;
  return sentence.length > mostCharacters ? `${sentence.slice(0, mostCharacters - 1)}…` : sentence;
}

/** The text under a heading of the second level, without the heading; null where there is none. */
export function sectionOf(readme: string | null, title: string): string | null {
  const lines = (readme ?? "").split(/\r?\n/);
  const start = lines.indexOf(`## ${title}`);
  if (start < 0) return null;
  const rest = lines.slice(start + 1);
  const end = rest.findIndex((line) => /^##? /.test(line));
  const text = (end < 0 ? rest : rest.slice(0, end)).join("\n").trim();
  return text === "" ? null : text;
}
