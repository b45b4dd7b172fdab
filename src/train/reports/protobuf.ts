/** Encodes the parts of protocol buffers that reports need. */

/** Fields as a message. */
export const message = (...fields: readonly Uint8Array[]): Buffer => Buffer.concat(fields);

const key = (field: number, kind: 0 | 1 | 2 | 5): number[] => digits(field * 8 + kind);

/** A varint: groups of 7 bits, lowest first. */
function digits(value: number): number[] {
  const out: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return [...out, left];
    out.push((left % 128) + 128);
  }
}

/** A non-negative integer. */
export const varint = (field: number, value: number): Buffer => Buffer.from([...key(field, 0), ...digits(value)]);

/** A message, a string or bytes. */
export function bytes(field: number, value: Uint8Array | string): Buffer {
  const data = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([Buffer.from([...key(field, 2), ...digits(data.length)]), data]);
}

export function double(field: number, value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeDoubleLE(value);
  return Buffer.concat([Buffer.from(key(field, 1)), out]);
}

export function float(field: number, value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeFloatLE(value);
  return Buffer.concat([Buffer.from(key(field, 5)), out]);
}
