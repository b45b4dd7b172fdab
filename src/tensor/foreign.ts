/** Recognizes files of the wrong format by their first bytes, and says what to do about them. */

/** How many bytes of a file's start `foreignFormat` needs. */
export const foreignBytes = 512;

/** A clause to follow the file's name, such as `is a Git LFS pointer ...`; null for an unknown format. */
export function foreignFormat(start: Uint8Array): string | null {
  const head = Buffer.from(start.subarray(0, foreignBytes)).toString("latin1");
  if (head.startsWith("version https://git-lfs.github.com/spec/")) {
    return "is a Git LFS pointer, not the file itself; run git lfs pull, or download the file from its resolve URL";
  }
  if (/^\s*<(?:!doctype|html|head|\?xml)/i.test(head)) {
    return "is a web page (HTML), not the file itself; download the file from its direct URL, with an access token if it needs one";
  }
  if (head.startsWith("GGUF")) {
    return "is a GGUF file, which llama.cpp reads; use the PEFT folder with safetensors that it was converted from";
  }
  if (head.startsWith("PK\x03\x04") || (start[0] === 0x80 && (start[1] ?? 0) <= 5)) {
    return "is a PyTorch pickle, which can run code and is never opened; if you trust it, convert it with save_file(torch.load(path, weights_only=True), ...) of safetensors.torch";
  }
  if (head.startsWith("\x1f\x8b") || head.startsWith("\x28\xb5\x2f\xfd")) {
    return "is compressed; unpack it first";
  }
  if (head.startsWith("\x93NUMPY")) return "is a NumPy array, not a safetensors file";
  return null;
}

/** `foreignFormat` for a file that should hold tensors: text is foreign too, such as the error message of a failed download. */
export function foreignWeights(start: Uint8Array): string | null {
  const known = foreignFormat(start);
  const head = Buffer.from(start.subarray(0, 80)).toString("latin1");
  if (known || !/^[\t\n\r -~]+$/.test(head)) return known;
  return `is text, not a safetensors file; it begins with ${JSON.stringify(head.slice(0, 60))}`;
}
