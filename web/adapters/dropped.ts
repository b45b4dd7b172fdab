/** Reads what was dropped or chosen: a PEFT folder, its files, or a tar; and suggests a name for it. */
import { type NamedFile, packTar } from "../client/tar.js";

export interface Parcel {
  /** A name as the server allows it, from the folder's or the tar's. */
  readonly name: string;
  readonly files: readonly NamedFile[];
  /** What is sent. */
  readonly content: Blob;
}

/** Training leaves large files beside an adapter that no adapter consists of. */
const isNeeded = ({ name }: NamedFile): boolean =>
  !/^(optimizer|scheduler|rng_state|trainer_state|training_args)\b/.test(name);
const isTar = (name: string): boolean => /\.(tar|tgz|tar\.gz)$/i.test(name);

/** Must be called within the event: a browser forgets what was dropped. */
export async function readDrop(transfer: DataTransfer): Promise<Parcel | null> {
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  const [entry] = entries;
  if (entries.length === 1 && isFolder(entry)) {
    return parcelOf(await filesOf(entry), entry.name);
  }
  return parcelOf([...transfer.files].map(namedFile), null);
}

/** `files` of an input. Those of a folder know its name. */
export function readChosen(files: FileList): Parcel | null {
  const [first] = files;
  const folder = first?.webkitRelativePath.split("/", 1)[0] ?? "";
  const own = [...files].filter(({ webkitRelativePath: path }) => path.split("/").length <= 2);
  return parcelOf(own.map(namedFile), folder === "" ? null : folder);
}

const namedFile = (file: File): NamedFile => ({ name: file.name, content: file });

function parcelOf(files: readonly NamedFile[], folder: string | null): Parcel | null {
  const [first] = files;
  if (!first) return null;
  if (files.length === 1 && isTar(first.name)) {
    return { name: nameFrom(first.name.replace(/\.(tar|tgz|tar\.gz)$/i, "")), files, content: first.content };
  }
  const needed = files.filter(isNeeded);
  return { name: nameFrom(folder ?? "my-adapter"), files: needed, content: packTar(needed) };
}

function nameFrom(text: string): string {
  return (
    text
      .replace(/[^A-Za-z0-9._-]+/g, "-")
      .replace(/^[^A-Za-z0-9]+/, "")
      .slice(0, 96) || "my-adapter"
  );
}

// Browsers need not have the interfaces of entries as globals: Chromium does not.
const isFolder = (entry: FileSystemEntry | undefined): entry is FileSystemDirectoryEntry => entry?.isDirectory === true;
const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;

/** The folder's own files, without those of folders in it. */
async function filesOf(folder: FileSystemDirectoryEntry): Promise<NamedFile[]> {
  const reader = folder.createReader();
  const files: NamedFile[] = [];
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return files;
    const own = entries.filter(isFile);
    files.push(...(await Promise.all(own.map(fileOf))));
  }
}

function fileOf(entry: FileSystemFileEntry): Promise<NamedFile> {
  return new Promise((resolve, reject) => entry.file((file) => resolve(namedFile(file)), reject));
}
