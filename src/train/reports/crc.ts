/** CRC-32 checksums. */
import { uint32At } from "../../base/list.js";

export type Checksum = (data: Uint8Array) => number;

/** The checksum function of a bit-reversed polynomial. */
function checksumOf(polynomial: number): Checksum {
  const table = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    return crc >>> 0;
  });
  return (data) => {
    let crc = 0xffffffff;
    for (const byte of data) crc = uint32At(table, (crc ^ byte) & 0xff) ^ (crc >>> 8);
    return ~crc >>> 0;
  };
}

/** zlib's. */
export const crc32 = checksumOf(0xedb88320);
/** Castagnoli's, of RFC 3720. */
export const crc32c = checksumOf(0x82f63b78);
