/** Pictures in folders that are named after their classes, directly or below folders that are named after splits. */

import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { formatOf, type SplitName, splitNamed } from "../data/folder.js";

export interface ClassFolders {
  readonly split: SplitName;
  readonly path: string;
  /** Classes and names of the pictures, one on each line. */
  readonly listing: string;
  readonly rows: readonly {
    readonly fields: { readonly image: string; readonly label: string };
    readonly place: { readonly file: string; readonly line: number };
  }[];
}

const pictures = /\.(png|jpe?g|webp)$/i;

/** null if the path is not such a folder. */
export async function findClassFolders(path: string): Promise<ClassFolders[] | null> {
  if (!(await stat(path).catch(() => null))?.isDirectory()) return null;
  const entries = await readdir(path, { withFileTypes: true });
  if (entries.some((entry) => !entry.isDirectory() && formatOf(entry.name) !== null)) return null;
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const splits = names.flatMap((name) => {
    const split = splitNamed(name);
    return split ? [{ split, folder: join(path, name) }] : [];
  });
  const folders = splits.length > 0 ? splits : [{ split: "train" as const, folder: path }];
  const found: ClassFolders[] = [];
  for (const { split, folder } of folders) found.push(await readClasses(split, folder));
  return found.some(({ rows }) => rows.length > 0) ? found : null;
}

async function readClasses(split: SplitName, folder: string): Promise<ClassFolders> {
  const rows: ClassFolders["rows"][number][] = [];
  const classes = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  for (const { name: label } of classes.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const files = (await readdir(join(folder, label))).filter((name) => pictures.test(name)).sort();
    for (const name of files) {
      const file = join(folder, label, name);
      rows.push({ fields: { image: basename(file), label }, place: { file, line: 1 } });
    }
  }
  return { split, path: folder, listing: rows.map(({ fields }) => `${fields.label}/${fields.image}`).join("\n"), rows };
}
