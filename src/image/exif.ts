/** The orientation in a picture's EXIF data, which is laid out as a TIFF file. */

const orientationTag = 0x0112;
const entryBytes = 12;
/** The bytes of a value of each type of whole numbers: SHORT, LONG, and those with a sign. */
const bytesOf = new Map([
  [3, 2],
  [4, 4],
  [6, 1],
  [8, 2],
  [9, 4],
]);

/**
 * 1 to 8; 1 where the data has none, or is damaged, as a picture without it is shown. As in Pillow, the last of several counts, and a
 * value that is no whole number does not.
 */
export function orientationOf(exif: Uint8Array): number {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  if (exif.length < 8) return 1;
  const mark = view.getUint16(0);
  if (mark !== 0x4949 && mark !== 0x4d4d) return 1;
  const little = mark === 0x4949;
  const directory = view.getUint32(4, little);
  if (view.getUint16(2, little) !== 42 || directory + 2 > exif.length) return 1;
  const count = view.getUint16(directory, little);
  let value = 1;
  for (let i = 0; i < count; i++) {
    const entry = directory + 2 + i * entryBytes;
    if (entry + entryBytes > exif.length) break;
    if (view.getUint16(entry, little) === orientationTag) value = wholeNumberAt(view, entry, little);
  }
  return value >= 1 && value <= 8 ? value : 1;
}

/** The first value of an entry that holds its values itself, else 0. */
function wholeNumberAt(view: DataView, entry: number, little: boolean): number {
  const bytes = bytesOf.get(view.getUint16(entry + 2, little)) ?? 0;
  const count = view.getUint32(entry + 4, little);
  if (bytes === 0 || count === 0 || bytes * count > 4) return 0;
  if (bytes === 4) return view.getUint32(entry + 8, little);
  return bytes === 2 ? view.getUint16(entry + 8, little) : view.getUint8(entry + 8);
}
