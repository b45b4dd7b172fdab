/** Formats a log line for humans: time, level unless it is info, message, and fields as key=value. */

import { isObject } from "../../base/json.js";

/** Fields that the rest of the line shows. */
const shownElsewhere: ReadonlySet<string> = new Set(["level", "time", "msg", "method", "path", "status", "ms", "err"]);

/** `line` is a JSON object as pino writes it. The result ends with a line break. */
export function formatLine(line: string): string {
  const fields: unknown = JSON.parse(line);
  if (!isObject(fields)) return line;
  const time = typeof fields.time === "string" ? new Date(fields.time).toTimeString().slice(0, 8) : "";
  const level = fields.level === "info" ? "" : String(fields.level).toUpperCase();
  const rest = Object.entries(fields).flatMap(([name, value]) => {
    const text = shownElsewhere.has(name) ? null : name === "body" ? JSON.stringify(value) : fieldText(value);
    return text === null ? [] : [`${name}=${oneLine(text)}`];
  });
  const first = [time, level, messageOf(fields)].filter((part) => part !== "").join(" ");
  return `${[first, ...rest].join("  ")}${errorText(fields.err)}\n`;
}

function messageOf(fields: Readonly<Record<string, unknown>>): string {
  const { msg, method, path, status, ms } = fields;
  if (msg !== "request") return oneLine(String(msg ?? ""));
  const parts = [method, path, status, ms === undefined ? undefined : `${ms} ms`];
  return parts
    .filter((part) => part !== undefined)
    .map((part) => oneLine(String(part)))
    .join(" ");
}

/** null for missing values, and for objects, which do not fit on a line. */
function fieldText(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "string") return /^[^\s"=\p{Cc}]+$/u.test(value) ? value : JSON.stringify(value);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (!Array.isArray(value) || value.length === 0) return null;
  return value.every((item) => typeof item !== "object") ? JSON.stringify(value) : null;
}

/** The stack of an error, indented below its line. */
function errorText(err: unknown): string {
  if (!isObject(err)) return "";
  const text = typeof err.stack === "string" ? err.stack : String(err.message ?? "");
  return text === "" ? "" : `\n  ${text.split("\n").map(oneLine).join("\n  ")}`;
}

/** Escapes control characters: text from a client must not move the cursor or start a new line. */
const oneLine = (text: string): string =>
  text.replace(/\p{Cc}/gu, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
