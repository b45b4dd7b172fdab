/** Reads what was dropped or chosen: a PEFT folder, its files, or a tar; suggests a name for it, and says where it cannot be an adapter. */
import { type NamedFile, packTar } from "../client/tar.js";
import { type Origin, parcelFault } from "./parcel-fault.js";

export interface Parcel {
  /** A name as the server allows it, from the folder's or the tar's; null where files have none in common. */
  readonly name: string | null;
  readonly files: readonly NamedFile[];
  /** The tar that is sent. What a chosen tar holds is not known here. */
  readonly content: Blob;
  readonly isTar: boolean;
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
  if (!folder) return transfer.files.length > 0 ? parcelOf([...transfer.files].map(namedFile)) : null;
  if (entries.length > 1) return parcelOf([], { kind: "several", names: entries.map(({ name }) => name) });
  const { name } = folder;
  return contentOf(folder).catch(() => parcelOf([], { kind: "unread", name }));
}

async function contentOf(folder: FileSystemDirectoryEntry): Promise<Parcel> {
  const held = await readFolder(folder);
  const inner = held.filter(isFolder).map(({ name }) => name);
  return parcelOf(await Promise.all(held.filter(isFile).map(fileOf)), { kind: "folder", name: folder.name, inner });
}

/** `files` of an input. Those of a folder know its name. null where none is chosen: of an empty folder a browser says nothing. */
export function readChosen(files: FileList): Parcel | null {
  const paths = [...files].map(({ webkitRelativePath }) => webkitRelativePath.split("/"));
  const [name = ""] = paths[0] ?? [];
  if (files.length === 0) return null;
  if (name === "") return parcelOf([...files].map(namedFile));
  const inner = new Set(paths.flatMap(([, second = "", ...deeper]) => (deeper.length > 0 ? [second] : [])));
  const own = [...files].filter((_, at) => (paths[at]?.length ?? 0) <= 2);
  return parcelOf(own.map(namedFile), { kind: "folder", name, inner: [...inner] });
}

const namedFile = (file: File): NamedFile => ({ name: file.name, content: file });

function parcelOf(files: readonly NamedFile[], from: Origin = { kind: "files" }): Parcel {
  const [first] = files;
  if (first && files.length === 1 && isTar(first.name)) {
    const name = nameFrom(first.name.replace(/\.(tar|tgz|tar\.gz)$/i, ""));
    return { name, files, content: first.content, isTar: true, fault: null };
  }
  const needed = files.filter(isNeeded);
  const names = files.map((file) => file.name);
  const name = from.kind === "folder" ? nameFrom(from.name) : null;
  return { name, files: needed, content: packTar(needed), isTar: false, fault: parcelFault(names, from) };
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
