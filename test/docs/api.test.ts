/** docs/api.md names every parameter and every path of the source, and no other. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { countFormat, messagesFormat } from "../../src/gateway/anthropic/messages-input.js";
import { chatFormat } from "../../src/gateway/openai/chat-input.js";
import { completionFormat } from "../../src/gateway/openai/completion-input.js";
import { gatewayDefaults } from "../../src/gateway/options.js";
import { responsesFormat } from "../../src/gateway/responses/input.js";
import { generateFormat } from "../../src/gateway/tgi/generate-input.js";
import { tokenizeParameters } from "../../src/gateway/vllm/tokenize.js";

const document = readFileSync("docs/api.md", "utf8");
const bounds = { ...gatewayDefaults, vocabSize: 100, maxContext: 64 };

/** What the first column of a section's table names, in order. */
function named(heading: string): string[] {
  const section = document.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  assert.ok(section, `there is a section ${heading}`);
  const rows = section.match(/^\| `.*$/gm) ?? [];
  return rows.flatMap((row) => [...(row.split("|")[1] ?? "").matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name));
}

function parameters({ known, ignored }: { readonly known: readonly string[]; readonly ignored: object }): string[] {
  return [...known, ...Object.keys(ignored)].sort();
}

test("docs/api.md lists every parameter of completions and of chats", () => {
  const common = named("Completions and chats");
  assert.deepEqual([...common, ...named("Completions")].sort(), parameters(completionFormat(bounds)));
  assert.deepEqual([...common, ...named("Chats")].sort(), parameters(chatFormat(bounds)));
});

test("docs/api.md lists every parameter of messages, among them those of count_tokens", () => {
  const listed = named("Messages");
  assert.deepEqual(listed.toSorted(), parameters(messagesFormat(bounds)));
  assert.deepEqual(
    parameters(countFormat(bounds)).filter((name) => !listed.includes(name)),
    [],
  );
});

test("docs/api.md lists every parameter of generate", () => {
  assert.deepEqual(named("Generate").sort(), parameters(generateFormat(bounds)));
});

test("docs/api.md lists every parameter of responses", () => {
  assert.deepEqual(named("Responses").sort(), parameters(responsesFormat(bounds)));
});

test("docs/api.md lists every parameter of tokenize and detokenize", () => {
  const { tokenize, detokenize } = tokenizeParameters(bounds);
  assert.deepEqual(named("Tokenize").sort(), [...(tokenize ?? [])].sort());
  assert.deepEqual(named("Detokenize").sort(), [...(detokenize ?? [])].sort());
});

test("docs/api.md lists every path of the API", () => {
  const source = readFileSync("src/server/http/api.ts", "utf8");
  const paths = [...source.matchAll(/\bapi\("([^"]+)"/g)].map(([, path = ""]) => `/v1${path}`);
  const shown = paths.map((path) => path.replace(/[:*](\w+)/g, "{$1}"));
  const listed = [...document.matchAll(/`(?:GET|POST|PUT|PATCH|DELETE) (\/v1[^`]*)`/g)].map(([, path = ""]) => path);
  assert.deepEqual([...new Set(listed)].sort(), [...new Set(shown)].sort());
});
