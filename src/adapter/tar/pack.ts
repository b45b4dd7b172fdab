/**
 * An adapter's folder as a tar, generated while it is read. It is a generator rather than a stream, so a consumer that stops ends it, and
 * errors are thrown where it is read.
 */

import type { FileHandle } from "node:fs/promises";
import { LorikeetError } from "../../base/errors.js";
import { configFile, weightFiles } from "../format/files.js";
import { keptFiles, openKept } from "../store/kept-files.js";

const blockBytes = 512;
const chunkBytes = 65_536;

/** The adapter's files, without a folder around them. Throws what reading them throws. */
export async function* packTar(folder: string): AsyncGenerator<Buffer, void, undefined> {
  const names = await keptFiles(folder);
  const weights = weightFiles.find((name) => names.includes(name)) ?? weightFiles[0];
  for (const name of [configFile, weights]) if (!names.includes(name)) throw changed(name, "is not a regular file");
  for (const name of names) yield* packFile(name, await openKept(folder, name));
  yield Buffer.alloc(2 * blockBytes);
}

/** One entry. Its size is read when it is opened: bytes appended later are not sent. */
async function* packFile(name: string, file: FileHandle): AsyncGenerator<Buffer, void, undefined> {
  try {
    const { size, mtimeMs } = await file.stat();
    yield header(name, size, Math.max(0, Math.floor(mtimeMs / 1000)));
    for (let left = size; left > 0; ) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(chunkBytes, left)));
      if (bytesRead === 0)
        throw changed(name, `is ${left} bytes shorter than the ${size} that it had when it was opened`);
      left -= bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
    yield Buffer.alloc((blockBytes - (size % blockBytes)) % blockBytes);
  } finally {
    await file.close();
  }
}

/** A header of POSIX's ustar format. Names of kept files are short. */
function header(name: string, size: number, seconds: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, digits: number): void => {
    block.write(value.toString(8).padStart(digits, "0"), at, "latin1");
  };
  block.write(name, 0, "utf8");
  octal(0o644, 100, 7);
  octal(0, 108, 7); // user and group
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(seconds, 136, 11);
  block.write("        ", 148, "latin1"); // the checksum counts itself as spaces
  block.write("0", 156, "latin1"); // a regular file
  block.write("ustar\u000000", 257, "latin1");
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  block.write("\u0000 ", 154, "latin1");
  return block;
}

function changed(name: string, clause: string): LorikeetError {
  return new LorikeetError("internal", `The adapter's file ${name} ${clause}, so it cannot be sent completely.`);
}
