/**
 * Writes the cards of everything shipped again, as their recipes do, from what was measured before: for a change of words.
 *
 *     npm run build && node dist/tools/recipes/cards/rewrite.js
 */
import { basename } from "node:path";
import { readCard } from "../../../src/adapter/card.js";
import type { TestRecord } from "../../../src/train/files/record.js";
import { shippedBases } from "./bases.js";
import { readRunRecord, type Shipped, type Tests, writeCard } from "./card.js";
import { languageAdapters } from "./language.js";

async function rewrite(shipped: Shipped, tests: Tests = {}): Promise<TestRecord> {
  const folder = shipped.outputDir;
  const { test, origin } = await readRunRecord(folder);
  if (!test || !origin) throw new Error(`${folder} was never measured.`);
  const { examples } = await readCard(folder);
  const pictures = examples.flatMap(({ title, picture }) =>
    title === null || picture === null ? [] : [{ title, picture: "example.png" }],
  );
  const { rows, metrics, base_metrics } = test;
  return writeCard(folder, shipped, { rows, metrics, base_metrics, samples: origin.rows, examples: pictures }, tests);
}

for (const shipped of Object.values(languageAdapters)) await rewrite(shipped);
for (const { base, adapters } of Object.values(shippedBases)) {
  const tests: Record<string, TestRecord> = {};
  for (const shipped of Object.values(adapters)) tests[basename(shipped.outputDir)] = await rewrite(shipped);
  await rewrite(base, tests);
}
