/** All shipped adapters at once at 16 clients over HTTP: every row is answered as `lorikeet eval` answers it alone, in fp32. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { isLong } from "../support/long.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-alike-"));
after(() => rmSync(folder, { recursive: true }));

const verses = [
  "KING:\nWhat news from the north, my lord?\n\nMESSENGER:\nNone, sire, but snow and silence.\n",
  "CLOWN:\nI had a hat once, and a head to put it on.\n",
  "LADY:\nSpeak softly; the walls have long been my husband's friends.\n",
];
const reviews = [
  { text: "a warm , witty film that earns every one of its tears .", label: "positive" },
  { text: "two hours of noise in search of a story .", label: "negative" },
  { text: "the cast does what it can with a script that gives them nothing .", label: "negative" },
  { text: "quietly moving , and better than its title .", label: "positive" },
];

function write(name: string, rows: readonly object[]): void {
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, "test.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

test("every adapter answers its rows the same alone and in a mixed batch", () => {
  write(
    "plays",
    verses.map((text) => ({ text })),
  );
  write("sentiment", reviews);
  const generated = isLong ? ["butler", "commands", "dates"] : ["dates"];
  for (const task of generated) {
    const sizes = ["--train", "1", "--valid", "1", "--test", "4"];
    execFileSync(process.execPath, [
      "tools/scripts/generate-data.mjs",
      task,
      join(folder, task),
      "--seed",
      "9",
      ...sizes,
    ]);
  }
  const out = execFileSync(process.execPath, ["tools/scripts/judge-server.mjs", folder], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 180_000,
  });
  const results: Record<string, { rows: number; different: number }> = JSON.parse(out);
  const counts = Object.fromEntries(
    Object.entries(results).map(([name, { rows, different }]) => [name, [rows, different]]),
  );
  const expected = Object.fromEntries(generated.map((task) => [task, [4, 0]]));
  assert.deepEqual(counts, { ...expected, plays: [3, 0], sentiment: [4, 0] });
});
