/**
 * Event files as TensorBoard reads them: TFRecords (length, data and a masked CRC-32C of each) of Event messages from
 * tensorflow's event.proto. Scalars only.
 */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { namesIn } from "../../base/durable.js";
import { crc32c } from "./crc.js";
import { bytes, double, float, message, varint } from "./protobuf.js";
import type { ScalarFile } from "./scalars.js";

const prefix = "events.out.tfevents.";

/**
 * Opens a new file in the folder, which TensorBoard reads after the existing ones. It discards their steps from `firstStep` on, since
 * a resumed run repeats them.
 */
export async function openEventFile(
  folder: string,
  firstStep: number,
  now: () => number = Date.now,
): Promise<ScalarFile> {
  const before = (await namesIn(folder)).flatMap((name) =>
    name.startsWith(prefix) ? [Number.parseInt(name.slice(prefix.length), 10)] : [],
  );
  // Files are read in the order of their names.
  const seconds = Math.max(Math.floor(now() / 1000), ...before.map((other) => other + 1));
  const file = await open(join(folder, `${prefix}${String(seconds).padStart(10, "0")}.lorikeet`), "wx");
  const write = async (...fields: readonly Uint8Array[]): Promise<void> => {
    await file.write(record(message(double(1, now() / 1000), ...fields)));
  };
  await write(bytes(3, "brain.Event:2"));
  if (before.length > 0) await write(varint(2, firstStep), bytes(7, varint(1, sessionStart)));
  return {
    async add(step, scalars) {
      const values = Object.entries(scalars).map(([tag, value]) => bytes(1, message(bytes(1, tag), float(2, value))));
      await write(varint(2, step), bytes(5, message(...values)));
    },
    async [Symbol.asyncDispose]() {
      await file.close();
    },
  };
}

/** SessionLog.SessionStatus.START. */
const sessionStart = 1;

function record(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, maskedChecksum(length), data, maskedChecksum(data)]);
}

function maskedChecksum(data: Uint8Array): Buffer {
  const crc = crc32c(data);
  const masked = (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  const out = Buffer.alloc(4);
  out.writeUInt32LE(masked);
  return out;
}
