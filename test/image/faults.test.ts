/** Files that are no pictures, or not the pictures they claim to be. FUZZ_RUNS sets how many damaged ones are tried. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { crc32, deflateSync } from "node:zlib";
import { LorikeetError } from "../../src/base/errors.js";
import { decodeImage, readImageHeader } from "../../src/image/decode.js";
import { loadImagePreprocessor } from "../../src/image/preprocessor.js";
import { damagedPicture, pictures, random } from "../support/damaged-pictures.js";

const maxPixels = 1_000_000;
const fileOf = (name: string): Buffer => Buffer.from(pictures[name] ?? []);

function chunk(name: string, content: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(name), content]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(content.length);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}

function png(width: number, height: number, data: Uint8Array, more: readonly Buffer[] = [], color = 0): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, color], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", head), ...more, chunk("IDAT", data), chunk("IEND", Buffer.alloc(0))]);
}

/** A JPEG with the bytes at a marker's content changed. */
function changed(name: string, marker: number, change: (content: Buffer) => void): Buffer {
  const bytes = Buffer.from(fileOf(name));
  change(bytes.subarray(bytes.indexOf(Buffer.from([0xff, marker])) + 4));
  return bytes;
}

describe("a picture that is not decoded says why", () => {
  const cases: readonly (readonly [string, Uint8Array, string, RegExp])[] = [
    ["nothing", Buffer.alloc(0), "image_invalid", /^The image is empty\.$/],
    [
      "PNG without line ends",
      Buffer.from("\x89PNG\x1aIHDR", "latin1"),
      "image_invalid",
      /`curl --data-binary` sends every/,
    ],
    ["text", Buffer.from("hello world"), "image_unsupported", /is not a picture of a known format; PNG, JPEG and WebP/],
    ["a GIF", Buffer.from("GIF89a..."), "image_unsupported", /^The image is a GIF;/],
    ["a HEIC", Buffer.from("\0\0\0\x18ftypheic"), "image_unsupported", /an AVIF or HEIC/],
    ["an SVG", Buffer.from("<svg/>"), "image_unsupported", /an SVG or XML file/],
    ["a PNG without pixels", png(0, 5, deflateSync(Buffer.alloc(5))), "image_invalid", /has a size of 0x5/],
    [
      "a PNG's bomb",
      png(50_000, 50_000, deflateSync(Buffer.alloc(10))),
      "image_too_large",
      /50000x50000 pixels, 2500000000 together; at most 1000000/,
    ],
    [
      "more rows than a PNG says",
      png(2, 2, deflateSync(Buffer.alloc(5_000_000))),
      "image_invalid",
      /more data than its size needs/,
    ],
    ["fewer rows than a PNG says", png(20, 20, deflateSync(Buffer.alloc(50))), "image_invalid", /is truncated/],
    [
      "rows that cannot be decompressed",
      png(2, 2, Buffer.from("no deflate")),
      "image_invalid",
      /cannot be decompressed/,
    ],
    ["a row with an unknown filter", png(1, 1, deflateSync(Buffer.from([9, 0]))), "image_invalid", /unknown filter 9/],
    [
      "an animated PNG",
      png(1, 1, deflateSync(Buffer.from([0, 0])), [chunk("acTL", Buffer.alloc(8))]),
      "image_unsupported",
      /an animated PNG/,
    ],
    [
      "a palette that is not there",
      png(1, 1, deflateSync(Buffer.from([0, 0])), [], 3),
      "image_invalid",
      /has no palette/,
    ],
    [
      "a colour type that is not one",
      png(1, 1, deflateSync(Buffer.from([0, 0])), [], 5),
      "image_invalid",
      /colour type 5/,
    ],
    ["a wrong checksum", fileOf("rgb.png").fill(7, 60, 62), "image_invalid", /checksum of its part "IDAT"/],
    ["half a PNG", fileOf("rgb.png").subarray(0, 900), "image_invalid", /is truncated/],
    ["half a JPEG", fileOf("grey.jpg").subarray(0, 700), "image_invalid", /is truncated/],
    ["a JPEG without its end", fileOf("grey.jpg").subarray(0, -2), "image_invalid", /is truncated/],
    ["a JPEG's bomb", changed("grey.jpg", 0xc0, (frame) => frame.fill(0xff, 1, 5)), "image_too_large", /65535x65535/],
    [
      "a JPEG of 12 bits",
      changed("grey.jpg", 0xc0, (frame) => frame.fill(12, 0, 1)),
      "image_unsupported",
      /12 bits a sample/,
    ],
    ["a CMYK JPEG", changed("grey.jpg", 0xc0, (frame) => frame.fill(4, 5, 6)), "image_unsupported", /CMYK/],
    ["half a WebP", fileOf("lossy.webp").subarray(0, 100), "image_invalid", /is truncated/],
    ["an animated WebP", fileOf("exif.webp").fill(2, 20, 21), "image_unsupported", /an animated WebP/],
  ];
  for (const [name, bytes, code, message] of cases) {
    test(name, async () => {
      await assert.rejects(decodeImage(bytes, maxPixels), (error) => {
        assert.ok(error instanceof LorikeetError);
        assert.equal(error.code, code);
        assert.match(error.message, message);
        return true;
      });
    });
  }
});

test("a JPEG with too many scans is refused before it is decoded", () => {
  const bytes = fileOf("progressive.jpg");
  const begin = bytes.indexOf(Buffer.from([0xff, 0xda]));
  const scan = Buffer.from([0xff, 0xda, 0x00, 0x02]);
  const many = Buffer.concat([
    bytes.subarray(0, begin),
    ...Array.from({ length: 65 }, () => scan),
    bytes.subarray(begin),
  ]);
  assert.throws(() => readImageHeader(many, maxPixels), /more than 64 scans/);
});

test("damaged pictures are decoded or refused, and the decoder still works behind each", async () => {
  const runs = Number(process.env.FUZZ_RUNS ?? 300);
  const next = random(Number(process.env.FUZZ_SEED ?? 1));
  const seeds = Object.values(pictures);
  const outcomes = { decoded: 0, refused: 0 };
  for (let run = 0; run < runs; run++) {
    const seed = seeds[Math.floor(next() * seeds.length)] ?? Buffer.alloc(0);
    const bytes = damagedPicture(seed, next);
    try {
      const { width, height, data } = await decodeImage(bytes, maxPixels);
      assert.equal(data.length, width * height * 3);
      outcomes.decoded++;
    } catch (error) {
      assert.ok(
        error instanceof LorikeetError && error.code.startsWith("image_"),
        `${error} for ${bytes.toString("base64")}`,
      );
      outcomes.refused++;
    }
  }
  assert.ok(outcomes.refused > runs / 4 && outcomes.decoded > runs / 20, JSON.stringify(outcomes));
  for (const name of ["rgb.png", "grey.jpg", "lossy.webp"]) assert.ok(await decodeImage(fileOf(name), maxPixels), name);
});

test("pictures are prepared in a thread, which survives bad ones, and too many are refused", async () => {
  const preprocessor = await loadImagePreprocessor("test/fixtures/tasks/resnet", { maxPixels: 2_000, maxPending: 3 });
  assert.ok(preprocessor);
  try {
    const { shape, original } = await preprocessor.prepare(fileOf("orientation6.jpg"));
    assert.deepEqual([shape, original], [[3, 32, 32], { width: 26, height: 37 }]);
    const tries = ["GIF89a", "x", "", "more"].map((text) => preprocessor.prepare(Buffer.from(text)));
    const codes = (await Promise.allSettled(tries)).map((each) =>
      each.status === "rejected" ? each.reason.code : null,
    );
    assert.deepEqual(codes, ["image_unsupported", "image_unsupported", "image_invalid", "image_queue_full"]);
    const large = png(50, 50, deflateSync(Buffer.alloc(2550)));
    await assert.rejects(preprocessor.prepare(large), { code: "image_too_large", found: 2500, allowed: 2000 });
    await preprocessor.prepare(fileOf("lossy.webp"));
    await assert.rejects(preprocessor.prepare(fileOf("rgb.png"), { signal: AbortSignal.abort() }), {
      code: "cancelled",
    });
  } finally {
    await preprocessor.close();
  }
});
