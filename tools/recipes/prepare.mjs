/**
 * Writes the data of a recipe into tools/recipes/data/<name>. The recipe names the source and holds the digest of the
 * data written here: `lorikeet train` refuses other data.
 *
 *     node tools/recipes/prepare.mjs plays <shakespeare.txt>
 *     node tools/recipes/prepare.mjs sentiment <folder with train.jsonl and valid.jsonl>
 *     node tools/recipes/prepare.mjs dates
 *     node tools/recipes/prepare.mjs commands
 *     node tools/recipes/prepare.mjs butler
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { generate, writeLists } from "../scripts/generate-data.mjs";

/** The files of each data set by name, from the paths on the command line. */
const makers = {
  /** The last tenth of the characters validates. */
  plays(source) {
    const text = readFileSync(source, "utf8");
    const cut = Math.floor(text.length * 0.9);
    return { "train.txt": text.slice(0, cut), "valid.txt": text.slice(cut) };
  },
  /** The given validation rows are the test: `train` takes its own from the training rows. */
  sentiment: (folder) => ({
    "train.jsonl": readFileSync(join(folder, "train.jsonl")),
    "test.jsonl": readFileSync(join(folder, "valid.jsonl")),
  }),
  dates: () => writeLists(generate("dates", 1, { train: 20_000, valid: 300, test: 500 })),
  commands: () => writeLists(generate("commands", 1, { train: 20_000, valid: 300, test: 500 })),
  butler: () => writeLists(generate("butler", 1, { train: 6000, valid: 100, test: 500 })),
};

const [name = "", source] = process.argv.slice(2);
if (!Object.hasOwn(makers, name) || (makers[name].length > 0 && source === undefined)) {
  console.error("usage: node tools/recipes/prepare.mjs plays <file> | sentiment <folder> | dates | commands | butler");
  process.exit(2);
}
const folder = fileURLToPath(new URL(`data/${name}/`, import.meta.url));
mkdirSync(folder, { recursive: true });
for (const [file, content] of Object.entries(makers[name](source))) writeFileSync(join(folder, file), content);
