/** Reads what was dropped or chosen: a PEFT folder, its files, or a tar; suggests a name for it, and says where it cannot be an adapter. */
import { type NamedFile, packTar } from "../client/tar.js";
import { filesOfTar } from "../client/untar.js";
import { configFile, type Origin, parcelFault } from "./parcel-fault.js";
import { readmeFile } from "./readme.js";

export interface Parcel {
  /** A name as the server allows it, from the folder's or the tar's; null where files have none in common. */
  readonly name: string | null;
  readonly files: readonly NamedFile[];
  /** The tar that is sent. */
  readonly content: Blob;
  /** Whether it is a tar whose files cannot be listed here: `files` has the tar itself. */
  readonly isOpaque: boolean;
  /** The text of its README, as far as it is read; null without one. */
  readonly readme: string | null;
  /** Why it is not sent; null: the server looks at it. */
  readonly fault: string | null;
}

/** Names that a server takes in a tar, as all files of an adapter have. */
const plainName = /^[\w.+=@-][\w.+=@ -]{0,98}$/;
/** Training leaves large files beside an adapter that no adapter consists of. */
const isNeeded = ({ name }: NamedFile): boolean =>
  plainName.test(name) && !/^(optimizer|scheduler|rng_state|trainer_state|training_args)\b/.test(name);
const isTar = (name: string): boolean => /\.(tar|tgz|tar\.gz)$/i.test(name);

/** Must be called within the event: a browser forgets what was dropped. null where it is no file, such as a text. */
export async function readDrop(transfer: DataTransfer): Promise<Parcel | null> {
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  const folder = entries.find(isFolder);
  if (!folder) return transfer.files.length > 0 ? parcelOfFiles([...transfer.files]) : null;
  if (entries.length > 1) return parcelOf([], { kind: "several", names: entries.map(({ name }) => name) });
  return ifReadable(contentOf(folder), folder.name);
}

async function contentOf(folder: FileSystemDirectoryEntry): Promise<Parcel> {
  const held = await readFolder(folder);
  const inner = held.filter(isFolder).map(({ name }) => name);
  return parcelOf(await Promise.all(held.filter(isFile).map(fileOf)), { kind: "folder", name: folder.name, inner });
}

/** `files` of an input. Those of a folder know its name. null where none is chosen: of an empty folder a browser says nothing. */
export async function readChosen(files: FileList): Promise<Parcel | null> {
  const paths = [...files].map(({ webkitRelativePath }) => webkitRelativePath.split("/"));
  const [name = ""] = paths[0] ?? [];
  if (files.length === 0) return null;
  if (name === "") return parcelOfFiles([...files]);
  const inner = new Set(paths.flatMap(([, second = "", ...deeper]) => (deeper.length > 0 ? [second] : [])));
  const own = [...files].filter((_, at) => (paths[at]?.length ?? 0) <= 2);
  return ifReadable(parcelOf(own.map(namedFile), { kind: "folder", name, inner: [...inner] }), name);
}

const parcelOfFiles = (files: readonly File[]): Promise<Parcel> =>
  ifReadable(parcelOf(files.map(namedFile)), files.map(({ name }) => name).join(", "));

/** Files may be gone, or locked, by the time that they are read. */
const ifReadable = (reading: Promise<Parcel>, name: string): Promise<Parcel> =>
  reading.catch(() => parcelOf([], { kind: "unread", name }));

/** Of a README; a summary stands at its start. */
const mostReadme = 2 ** 20;

const namedFile = (file: File): NamedFile => ({ name: file.name, content: file });

async function parcelOf(files: readonly NamedFile[], from: Origin = { kind: "files" }): Promise<Parcel> {
  const [first] = files;
  if (first && files.length === 1 && isTar(first.name)) {
    const name = nameFrom(first.name.replace(/\.(tar|tgz|tar\.gz)$/i, ""));
    const listed = await filesOfTar(first.content, configFile);
    const { content } = first;
    if (listed === null) return { name, files, content, isOpaque: true, readme: null, fault: null };
    const fault = parcelFault(
      listed.map((file) => file.name),
      from,
    );
    return { name, files: listed.filter(isNeeded), content, isOpaque: false, readme: await readmeIn(listed), fault };
  }
  const needed = files.filter(isNeeded);
  const names = files.map((file) => file.name);
  const name = from.kind === "folder" ? nameFrom(from.name) : null;
  const [content, readme] = [packTar(needed), await readmeIn(needed)];
  return { name, files: needed, content, isOpaque: false, readme, fault: parcelFault(names, from) };
}

async function readmeIn(files: readonly NamedFile[]): Promise<string | null> {
  const file = files.find(({ name }) => name === readmeFile);
  return file === undefined ? null : file.content.slice(0, mostReadme).text();
}

function nameFrom(text: string): string {
  return (
    text
      .replace(/[^A-Za-z0-9._-]+/g, "-")
      .replace(/^[^A-Za-z0-9]+/, "")
      .slice(0, 96)
      .replace(/-+$/, "") || "my-adapter"
  );
}

// Browsers need not have the interfaces of entries as globals: Chromium does not.
const isFolder = (entry: FileSystemEntry): entry is FileSystemDirectoryEntry => entry.isDirectory;
const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;

async function readFolder(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const held: FileSystemEntry[] = [];
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return held;
    held.push(...entries);
  }
}

function fileOf(entry: FileSystemFileEntry): Promise<NamedFile> {
  return new Promise((resolve, reject) => entry.file((file) => resolve(namedFile(file)), reject));
}
