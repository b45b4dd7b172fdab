/**
 * Markdown as elements: headings, paragraphs, lists, tables, code, emphasis and links. There is no way from a text to markup: HTML in it
 * stays text, pictures become their description, and links lead to http and https only.
 */
import type { ComponentChildren, VNode } from "preact";
import { Code } from "./code.js";

export function Markdown({ text }: { readonly text: string }) {
  return <div class="markdown">{blocksOf(text.split(/\r?\n/))}</div>;
}

const isRule = (line: string): boolean => /^ {0,3}([-*_])( *\1){2,} *$/.test(line);
const isTableRow = (line: string): boolean => /^\s*\|.*\|\s*$/.test(line);
const listItem = /^\s*(?:[-*+]|\d{1,9}[.)])\s+(.*)$/;
const heading = /^(#{1,6})\s+(.*?)\s*#*$/;
const fence = /^\s*(```+|~~~+)/;

function blocksOf(lines: readonly string[]): VNode[] {
  const blocks: VNode[] = [];
  let at = 0;
  const takeWhile = (holds: (line: string) => boolean): string[] => {
    const start = at;
    while (at < lines.length && holds(lines[at] ?? "")) at++;
    return lines.slice(start, at);
  };
  while (at < lines.length) {
    const line = lines[at] ?? "";
    const mark = fence.exec(line)?.[1];
    if (line.trim() === "" || isRule(line)) at++;
    else if (mark !== undefined) {
      at++;
      const code = takeWhile((each) => !each.trim().startsWith(mark));
      at++;
      blocks.push(<Code text={code.join("\n")} />);
    } else if (heading.test(line)) {
      at++;
      blocks.push(headingOf(line));
    } else if (isTableRow(line)) blocks.push(tableOf(takeWhile(isTableRow)));
    else if (listItem.test(line)) blocks.push(listOf(takeWhile((each) => each.trim() !== "")));
    else if (line.startsWith(">")) {
      const quoted = takeWhile((each) => each.startsWith(">"));
      blocks.push(<blockquote>{blocksOf(quoted.map((each) => each.replace(/^> ?/, "")))}</blockquote>);
    } else blocks.push(<p>{inline(takeWhile((each) => isParagraph(each)).join(" "))}</p>);
  }
  return blocks;
}

function isParagraph(line: string): boolean {
  return line.trim() !== "" && !heading.test(line) && !fence.test(line) && !isTableRow(line) && !listItem.test(line);
}

/** The card that holds it has the first two levels. */
function headingOf(line: string): VNode {
  const [, marks = "", text = ""] = heading.exec(line) ?? [];
  const Level = marks.length === 1 ? "h3" : "h4";
  return <Level>{inline(text)}</Level>;
}

function tableOf(rows: readonly string[]): VNode {
  const cells = rows.map((row) =>
    row
      .trim()
      .slice(1, -1)
      .split(/(?<!\\)\|/),
  );
  const [head = [], ...body] = cells.filter((row) => !row.every((cell) => /^\s*:?-+:?\s*$/.test(cell)));
  return (
    <div class="table" tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>
            {head.map((cell) => (
              <th scope="col">{inline(cell.trim())}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {body.map((row) => (
            <tr>
              {row.map((cell) => (
                <td>{inline(cell.trim())}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A line without a mark continues the item before it. */
function listOf(lines: readonly string[]): VNode {
  const items: string[] = [];
  for (const line of lines) {
    const text = listItem.exec(line)?.[1];
    if (text !== undefined) items.push(text);
    else items.push(`${items.pop() ?? ""} ${line.trim()}`);
  }
  const List = /^\s*\d/.test(lines[0] ?? "") ? "ol" : "ul";
  return (
    <List>
      {items.map((item) => (
        <li>{inline(item)}</li>
      ))}
    </List>
  );
}

/** Code, pictures, links, strong and emphasis, in this order: what is inside code stays as it is. */
const pattern =
  /(`+)(?<code>.+?)\1(?!`)|!\[(?<picture>[^\]]*)\]\([^)]*\)|\[(?<label>[^\]]+)\]\((?<href>[^)\s]+)[^)]*\)|\*\*(?<strong>[^*]+)\*\*|\*(?<weak>[^*\s][^*]*)\*/g;

function inline(text: string): ComponentChildren[] {
  const parts: ComponentChildren[] = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    parts.push(text.slice(end, match.index), inlineOf(match.groups ?? {}));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

function inlineOf({ code, picture, label, href, strong, weak }: Record<string, string | undefined>): ComponentChildren {
  if (code !== undefined) return <code>{code}</code>;
  if (picture !== undefined) return picture === "" ? null : <i>{picture}</i>;
  if (strong !== undefined) return <strong>{inline(strong)}</strong>;
  if (weak !== undefined) return <em>{inline(weak)}</em>;
  if (label === undefined || href === undefined) return null;
  if (!/^https?:\/\//i.test(href)) return inline(label);
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {inline(label)}
    </a>
  );
}
