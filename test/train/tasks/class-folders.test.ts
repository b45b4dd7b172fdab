/** Which pictures of a folder belong to which class. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { findClassFolders } from "../../../src/train/tasks/class-folders.js";

const root = mkdtempSync(join(tmpdir(), "lorikeet-classes-"));
after(() => rmSync(root, { recursive: true }));

function folderOf(name: string, ...files: readonly string[]): string {
  for (const file of files) {
    mkdirSync(dirname(join(root, name, file)), { recursive: true });
    writeFileSync(join(root, name, file), "");
  }
  return join(root, name);
}

test("pictures below a class belong to it, and other formats are not left out", async () => {
  const kept = ["train/größe/1.PNG", "train/größe/deep/er/2.jpeg", "train/größe/3.gif", "valid/梨/4.webp"];
  const other = [
    "train/größe/notes.txt",
    "train/größe/._1.png",
    "train/.cache/5.png",
    "train/größe/.old/6.png",
    "README.md",
  ];
  const found = await findClassFolders(folderOf("splits", ...kept, ...other));
  const listed = found?.flatMap(({ split, listing }) => listing.split("\n").map((line) => `${split}/${line}`));
  assert.deepEqual(listed?.sort(), [...kept].sort());
  const deep = found?.flatMap(({ rows }) => rows).find(({ fields }) => fields.image === "größe/deep/er/2.jpeg");
  assert.deepEqual(
    [deep?.fields.label, deep?.place],
    ["größe", { file: join(root, "splits", kept[1] ?? ""), line: null }],
  );
});

test("a folder without pictures, or with rows, is not one of classes", async () => {
  assert.equal(await findClassFolders(folderOf("rows", "train.jsonl", "cat/1.png")), null);
  assert.equal(await findClassFolders(folderOf("none", "cat/notes.txt", ".cat/1.png")), null);
});
