/** Names what a file is that was taken for another: by its first bytes, with what to do about it. Opens none. */

/** Enough of a file's start for `foreignFormat`. */
export const foreignBytes = 512;

/** A clause that follows the file's name, such as `is a Git LFS pointer ...`; null for what is none of the known kinds. */
export function foreignFormat(start: Uint8Array): string | null {
  const head = Buffer.from(start.subarray(0, foreignBytes)).toString("latin1");
  if (head.startsWith("version https://git-lfs.github.com/spec/")) {
    return "is a Git LFS pointer, not the file itself; fetch it with git lfs pull, or download it by its resolve address";
  }
  if (/^\s*<(?:!doctype|html|head|\?xml)/i.test(head)) {
    return "is a web page (HTML), not the file itself; download it again by its direct address, with an access token where one is needed";
  }
  if (head.startsWith("GGUF")) {
    return "is a GGUF file, which llama.cpp reads; use the PEFT folder with safetensors that it was made from";
  }
  if (head.startsWith("PK\x03\x04") || (start[0] === 0x80 && (start[1] ?? 0) <= 5)) {
    return "is a pickle of PyTorch, which could run code and is never opened; convert it where you trust it, with save_file(torch.load(path, weights_only=True), ...) of safetensors.torch";
  }
  if (head.startsWith("\x1f\x8b") || head.startsWith("\x28\xb5\x2f\xfd")) {
    return "is compressed; unpack it first";
  }
  if (head.startsWith("\x93NUMPY")) return "is a NumPy array; a safetensors file is needed";
  return null;
}

/** As `foreignFormat`, of a file that should hold tensors: text is foreign too, as the message of a download that failed is. */
export function foreignWeights(start: Uint8Array): string | null {
  const known = foreignFormat(start);
  const head = Buffer.from(start.subarray(0, 80)).toString("latin1");
  if (known || !/^[\t\n\r -~]+$/.test(head)) return known;
  return `is text, not a safetensors file; it begins with ${JSON.stringify(head.slice(0, 60))}`;
}
