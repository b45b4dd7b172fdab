/** Pictures in folders that are named after their classes, directly or below folders that are named after splits. */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { formatOf, type SplitName, splitNamed } from "../data/folder.js";

export interface ClassFolders {
  readonly split: SplitName;
  readonly path: string;
  /** Classes and names of the pictures, one on each line. */
  readonly listing: string;
  readonly rows: readonly {
    /** `image`: the picture below the folder of classes. */
    readonly fields: { readonly image: string; readonly label: string };
    readonly place: { readonly file: string; readonly line: null };
  }[];
}

/** Formats that are not read too: their pictures are refused by name, not left out. */
const pictures = /\.(png|jpe?g|jpe|jfif|webp|gif|bmp|tiff?|avif|heic)$/i;
/** Of the system or a tool, as `.ipynb_checkpoints` and `._1.png`. */
const hidden = /(^|[/\\])\./;

/** null if the path is not such a folder. */
export async function findClassFolders(path: string): Promise<ClassFolders[] | null> {
  if (!(await stat(path).catch(() => null))?.isDirectory()) return null;
  const entries = await readdir(path, { withFileTypes: true });
  if (entries.some((entry) => !entry.isDirectory() && formatOf(entry.name) !== null)) return null;
  const splits = (await foldersIn(path)).flatMap((name) => {
    const split = splitNamed(name);
    return split ? [{ split, folder: join(path, name) }] : [];
  });
  const folders = splits.length > 0 ? splits : [{ split: "train" as const, folder: path }];
  const found: ClassFolders[] = [];
  for (const { split, folder } of folders) found.push(await readClasses(split, folder));
  return found.some(({ rows }) => rows.length > 0) ? found : null;
}

/** Pictures in folders below a class belong to it. */
async function readClasses(split: SplitName, folder: string): Promise<ClassFolders> {
  const rows: ClassFolders["rows"][number][] = [];
  const listing: string[] = [];
  for (const label of await foldersIn(folder)) {
    const names = await readdir(join(folder, label), { recursive: true });
    for (const name of names.filter((name) => pictures.test(name) && !hidden.test(name)).sort()) {
      const image = `${label}/${name.replaceAll("\\", "/")}`;
      rows.push({ fields: { image, label }, place: { file: join(folder, label, name), line: null } });
      listing.push(image);
    }
  }
  return { split, path: folder, listing: listing.join("\n"), rows };
}

async function foldersIn(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true });
  return entries.flatMap((entry) => (entry.isDirectory() && !hidden.test(entry.name) ? [entry.name] : [])).sort();
}
