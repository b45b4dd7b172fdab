/** Packs files into a tar (ustar) without copying them: the result is a Blob of headers and of the files themselves. */

const blockSize = 512;
const nameBytes = 100;

export interface NamedFile {
  readonly name: string;
  readonly content: Blob;
}

/** Throws RangeError for a name over 100 bytes, which adapters' files do not have. */
export function packTar(files: readonly NamedFile[]): Blob {
  const parts = files.flatMap(({ name, content }) => {
    const padding = new Uint8Array((blockSize - (content.size % blockSize)) % blockSize);
    return [headerOf(name, content.size), content, padding];
  });
  return new Blob([...parts, new Uint8Array(2 * blockSize)], { type: "application/x-tar" });
}

function headerOf(name: string, size: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(blockSize);
  const encoded = new TextEncoder().encode(name);
  if (encoded.length > nameBytes) throw new RangeError(`The name ${name} is longer than ${nameBytes} bytes.`);
  const write = (offset: number, text: string): void => header.set(new TextEncoder().encode(text), offset);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, "0")}\0`;
  header.set(encoded, 0);
  write(100, octal(0o644, 7)); // mode
  write(108, octal(0, 7)); // owner
  write(116, octal(0, 7)); // group
  write(124, octal(size, 11));
  write(136, octal(0, 11)); // time
  write(148, " ".repeat(8)); // the checksum counts as blanks
  write(156, "0"); // a regular file
  write(257, "ustar\x0000");
  const sum = header.reduce((total, byte) => total + byte, 0);
  write(148, `${octal(sum, 6)} `);
  return header;
}
