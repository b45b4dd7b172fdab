/** The recipe of the embedded base: which text is held out, where chapters end, and that no judged row is trained on. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-base-"));
after(() => rmSync(folder, { recursive: true }));

const paragraph = (book: string, i: number): string =>
  `In ${book} the ${i}th morning was as grey as the one before it.`;

/** A table of contents, which holds no chapter, and three chapters of sixty paragraphs. */
function writeBook(name: string): void {
  const heads = ["CHAPTER I", "CHAPTER II. The Road", "CHAPTER III"];
  const lines = heads.flatMap((head, chapter) => [
    head,
    ...Array.from({ length: 60 }, (_, i) => paragraph(name, 60 * chapter + i)),
  ]);
  writeFileSync(join(folder, "books", `${name}.txt`), `${[name, ...heads, ...lines].join("\n\n")}\n`);
}

test("chapters end with the end token, the last paragraphs are held out, a tenth is generated", () => {
  mkdirSync(join(folder, "books"));
  for (const name of ["Ashes", "Birch"]) writeBook(name);
  const run = (work: string, seed: string) => {
    const out = join(folder, work);
    const args = ["models/bookworm-7m", join(folder, "books"), out, "--seed", seed, "--data-only"];
    const figures = JSON.parse(
      execFileSync(process.execPath, ["tools/scripts/continue-base.mjs", ...args], { encoding: "utf8" }),
    );
    const read = (name: string): string => readFileSync(join(out, name), "utf8");
    return { figures, train: read("data/train.txt"), valid: read("data/valid.txt"), rows: read("rows.jsonl") };
  };
  const made = run("one", "1");
  const { figures, train, valid, rows } = made;
  assert.equal(figures.chapters, 6);
  const held = (name: string): string => [177, 178, 179].map((i) => paragraph(name, i)).join("\n\n");
  assert.equal(valid, `${held("Ashes")}\n\n${held("Birch")}`);
  assert.ok(!train.includes(paragraph("Ashes", 177)) && train.includes(paragraph("Ashes", 176)));

  const documents = train.split("<|endoftext|>");
  assert.equal(documents.pop(), "");
  assert.ok(documents.includes(["CHAPTER II. The Road", ...lines("Birch", 60)].join("\n\n")));
  assert.equal(documents.length, 6 + figures.rows);
  const share = figures.rowTokens / (figures.rowTokens + figures.bookTokens);
  assert.ok(share >= 0.1 && share < 0.12, `${share}`);
  const chats = documents.filter((text) => text.startsWith("<|im_start|>"));
  assert.ok(chats.length > 0 && chats.every((text) => text.endsWith("<|im_end|>\n")));

  const judged = rows.trimEnd().split("\n");
  assert.ok(judged.length > 400 && judged.length === figures.judged);
  for (const line of judged) {
    const { prompt, messages = [{ role: "user", content: prompt?.trim() }] } = JSON.parse(line);
    for (const { role, content } of messages) {
      if (role !== "user") continue;
      assert.ok(!train.includes(`${content}\n`) && !train.includes(`${content}<|im_end|>`), content);
    }
  }
  assert.deepEqual(run("again", "1"), made);
  assert.notEqual(run("other", "2").train, train);
});

const lines = (name: string, from: number): string[] => Array.from({ length: 60 }, (_, i) => paragraph(name, from + i));

test("no row of the adapters' data is in the base's training data", () => {
  const data = join(folder, "commands");
  execFileSync(process.execPath, ["tools/scripts/generate-data.mjs", "commands", data, "--train", "2000"]);
  const prompts = new Set(
    ["train", "valid", "test"].flatMap((split) =>
      readFileSync(join(data, `${split}.jsonl`), "utf8")
        .trimEnd()
        .split("\n")
        .map((line): string => JSON.parse(line).prompt),
    ),
  );
  assert.ok(prompts.size > 100);
  const script =
    'import { baseRows } from "./tools/scripts/base-rows.mjs"; const rows = baseRows(1); for (let i = 0; i < 20000; i++) console.log(JSON.stringify(rows.next().value));';
  const printed = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  for (const line of printed.trimEnd().split("\n")) {
    const { prompt } = JSON.parse(line);
    assert.ok(prompt === undefined || !prompts.has(prompt), prompt);
  }
});
