/** Lists the files of a tar, plain or gzip, without copying a plain one: each file is a slice of it. The server alone decides what a tar means. */
import type { NamedFile } from "./tar.js";

const blockSize = 512;
const mostEntries = 4096;
/** A gzip that unpacks to more is not listed. */
const mostBytes = 512 * 2 ** 20;

/**
 * The files beside one of a name or, without it, those of the tar or of the one folder that it holds. null where it cannot be listed, or where
 * the file lies deeper than in one folder.
 */
export async function filesOfTar(packed: Blob, beside: string): Promise<readonly NamedFile[] | null> {
  const tar = await unzipped(packed).catch(() => null);
  const entries = tar === null ? null : await entriesOf(tar);
  if (entries === null) return null;
  const all = entries.map(({ name, content }) => {
    const levels = name.replace(/^(\.\/)+/, "").split("/");
    return { name: levels.at(-1) ?? "", folder: levels.slice(0, -1), content };
  });
  const byDepth = all.toSorted((a, b) => a.folder.length - b.folder.length);
  const folder = (byDepth.find(({ name }) => name === beside) ?? byDepth[0])?.folder ?? [];
  if (folder.length > 1) return null;
  const own = all.filter((file) => file.folder.join("/") === folder.join("/"));
  return own.map(({ name, content }) => ({ name, content }));
}

async function unzipped(packed: Blob): Promise<Blob | null> {
  const [first, second] = new Uint8Array(await packed.slice(0, 2).arrayBuffer());
  if (first !== 0x1f || second !== 0x8b) return packed;
  const reader = packed.stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    bytes += read.value.length;
    if (bytes > mostBytes) {
      await reader.cancel();
      return null;
    }
    parts.push(new Uint8Array(read.value));
  }
  return new Blob(parts);
}

async function entriesOf(tar: Blob): Promise<readonly NamedFile[] | null> {
  const found: NamedFile[] = [];
  for (let [offset, count] = [0, 0]; offset + blockSize <= tar.size; count++) {
    const header = new Uint8Array(await tar.slice(offset, offset + blockSize).arrayBuffer());
    if (header[0] === 0) return found;
    const text = (start: number, length: number): string =>
      new TextDecoder().decode(header.subarray(start, start + length)).replace(/\0.*$/s, "");
    const size = Number.parseInt(text(124, 12).trim(), 8);
    const start = offset + blockSize;
    if (count >= mostEntries || text(257, 5) !== "ustar" || !(size >= 0) || start + size > tar.size) return null;
    const [type, prefix] = [text(156, 1), text(345, 155)];
    const name = (prefix === "" ? "" : `${prefix}/`) + text(0, 100);
    if (type === "" || type === "0") found.push({ name, content: tar.slice(start, start + size) });
    offset = start + Math.ceil(size / blockSize) * blockSize;
  }
  return found;
}
