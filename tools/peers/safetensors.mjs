// Reads tensors of a safetensors file as float32. Only the dtypes of the benchmark's files: F32 and BF16.

import { open } from "node:fs/promises";

/** `{names, shape(name), read(name), close()}` of a file. */
export async function openSafetensors(path) {
  const file = await open(path, "r");
  const size = Buffer.alloc(8);
  await file.read(size, 0, 8, 0);
  const headerBytes = Number(size.readBigUInt64LE());
  const header = Buffer.alloc(headerBytes);
  await file.read(header, 0, headerBytes, 8);
  const { __metadata__, ...tensors } = JSON.parse(header.toString("utf8"));
  const find = (name) => {
    if (!tensors[name]) throw new Error(`${path} has no tensor ${name}`);
    return tensors[name];
  };
  return {
    names: Object.keys(tensors),
    shape: (name) => find(name).shape,
    async read(name) {
      const { dtype, data_offsets: range } = find(name);
      const bytes = new Uint8Array(range[1] - range[0]);
      await file.read(bytes, 0, bytes.length, 8 + headerBytes + range[0]);
      return toFloats(dtype, bytes);
    },
    close: () => file.close(),
  };
}

function toFloats(dtype, bytes) {
  if (dtype === "F32") return new Float32Array(bytes.buffer);
  if (dtype !== "BF16") throw new Error(`${dtype} is not supported here`);
  const halves = new Uint16Array(bytes.buffer);
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
  return new Float32Array(bits.buffer);
}
