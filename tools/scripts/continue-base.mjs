/**
 * The recipe of the embedded base: continues a checkpoint on a folder of books, one paragraph a line, with an end token after
 * every chapter and a tenth of generated rows, by `lorikeet train --method full`. What follows `--` is passed on to it.
 *
 *     node tools/scripts/continue-base.mjs <checkpoint> <books> <work> [--seed 1] [--data-only] -- --max-steps 700 --learning-rate 6e-4 ...
 *
 * <work>/data gets train.txt and valid.txt (the last 1.5 % of each book's paragraphs), <work>/rows.jsonl rows for `eval` none
 * of whose questions is trained on, <work>/model the result. Needs a build (`npm ci`).
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { baseRows } from "./base-rows.mjs";
import { randomOf } from "./generate-data.mjs";

const heldOut = 0.015;
const generatedShare = 0.1;
const reservedRows = 500;
/** The minimum distance between chapter starts, which excludes tables of contents. */
const leastChapter = 2000;

/** `CHAPTER IV. The Bell`, `IV`, `IV. The Bell`, `THE BELL`. */
const heads = [
  /^(CHAPTER|Chapter|BOOK|Book|PART|Part|VOLUME|Volume)\b.{0,70}$/,
  /^[IVXLC]+(\.?|\. .{1,60})$/,
  /^[A-Z][A-Z ,.'!?:;-]{5,70}$/,
];
const isHead = (line) => heads.some((head) => head.test(line));

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** The books sorted by name, each as its paragraphs, with a digest. */
export function readBooks(folder) {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith(".txt"))
    .sort()
    .map((name) => ({ name, text: readFileSync(join(folder, name), "utf8") }));
  return {
    digest: sha256(files.map(({ name, text }) => `${name} ${sha256(text)}\n`).join("")),
    books: files.map(({ text }) =>
      text
        .split(/\n\s*\n/)
        .map((line) => line.trim())
        .filter((line) => line !== ""),
    ),
  };
}

/** The paragraphs to train on, and the last ones, which are held out. */
export function divide(paragraphs) {
  const cut = paragraphs.length - Math.ceil(heldOut * paragraphs.length);
  return [paragraphs.slice(0, cut), paragraphs.slice(cut)];
}

/** Texts of chapters. */
export function chapters(paragraphs) {
  const texts = [];
  let open = [];
  let size = 0;
  for (const line of paragraphs) {
    if (size >= leastChapter && isHead(line)) {
      texts.push(open.join("\n\n"));
      [open, size] = [[], 0];
    }
    open.push(line);
    size += line.length;
  }
  if (open.length > 0) texts.push(open.join("\n\n"));
  return texts;
}

/** A row as text for training: a chat in the model's template. */
function rowText({ messages, prompt, completion }, tokenizer) {
  if (!messages) return prompt + completion;
  return tokenizer.renderChat(messages, { addGenerationPrompt: false });
}

/** The question of a row, from its prompt or its chat. */
function questions({ messages, prompt }) {
  if (!messages) return [prompt.trim()];
  return messages.filter(({ role }) => role === "user").map(({ content }) => content);
}

function shuffle(list, below) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = below(i + 1);
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

async function writeData(checkpoint, folder, work, seed) {
  const { loadTokenizer } = await import("../../dist/src/text/tokenizer/tokenizer.js");
  const tokenizer = await loadTokenizer(checkpoint);
  const count = async (text) => (await tokenizer.encode(text, { addSpecialTokens: false })).length;
  const { digest, books } = readBooks(folder);
  const parts = books.map(divide);
  const documents = parts.flatMap(([train]) => chapters(train));
  let bookTokens = 0;
  for (const text of documents) bookTokens += await count(text);

  const rows = baseRows(seed);
  const reserved = Array.from({ length: reservedRows }, () => rows.next().value);
  const keyOf = (row) => row.prompt ?? questions(row).join("\n");
  const reservedKeys = new Set(reserved.map(keyOf));
  const asked = new Set();
  const chaptersCount = documents.length;
  let rowTokens = 0;
  while (rowTokens < (generatedShare / (1 - generatedShare)) * bookTokens) {
    const row = rows.next().value;
    if (reservedKeys.has(keyOf(row))) continue;
    for (const question of questions(row)) asked.add(question);
    const text = rowText(row, tokenizer);
    documents.push(text);
    rowTokens += (await count(text)) + 1;
  }
  const judged = reserved.filter((row) => !questions(row).some((question) => asked.has(question)));
  const end = "<|endoftext|>";
  const train = shuffle(documents, randomOf(seed + 1)).join(end) + end;
  const valid = parts.flatMap(([, held]) => held).join("\n\n");
  mkdirSync(join(work, "data"), { recursive: true });
  writeFileSync(join(work, "data", "train.txt"), train);
  writeFileSync(join(work, "data", "valid.txt"), valid);
  writeFileSync(join(work, "rows.jsonl"), judged.map((row) => `${JSON.stringify(row)}\n`).join(""));
  await tokenizer.close();
  const figures = {
    books: books.length,
    digest,
    chapters: chaptersCount,
    bookTokens,
    rows: documents.length - chaptersCount,
    rowTokens,
    judged: judged.length,
  };
  console.log(JSON.stringify({ ...figures, train: sha256(train), valid: sha256(valid) }, null, 2));
}

async function main() {
  const passed = process.argv.indexOf("--", 2);
  const [own, rest] =
    passed < 0 ? [process.argv.slice(2), []] : [process.argv.slice(2, passed), process.argv.slice(passed + 1)];
  const { positionals, values } = parseArgs({
    args: own,
    allowPositionals: true,
    options: { seed: { type: "string", default: "1" }, "data-only": { type: "boolean", default: false } },
  });
  const [checkpoint, books, work] = positionals;
  if (work === undefined) {
    console.error(
      "usage: node tools/scripts/continue-base.mjs <checkpoint> <books> <work> [--seed n] [--data-only] [-- options of train]",
    );
    process.exit(2);
  }
  await writeData(checkpoint, books, work, Number(values.seed));
  if (values["data-only"]) return;
  const cli = fileURLToPath(new URL("../../dist/src/cli/main.js", import.meta.url));
  const args = [
    "--model",
    checkpoint,
    "--data",
    join(work, "data"),
    "--output-dir",
    join(work, "model"),
    "--method",
    "full",
  ];
  const { status } = spawnSync(process.execPath, [cli, "train", ...args, ...rest], { stdio: "inherit" });
  process.exit(status ?? 1);
}

if (process.argv[1]?.endsWith("continue-base.mjs")) await main();
