/** Decoding, resizing and preparing, held to what Pillow and transformers give: test/fixtures/images/make.py wrote it. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { inflateSync } from "node:zlib";
import type { Json } from "../../src/base/json.js";
import { at } from "../../src/base/list.js";
import { decodeImage } from "../../src/image/decode.js";
import { orientationOf } from "../../src/image/exif.js";
import type { PreprocessPlan } from "../../src/image/plan.js";
import { preparePixels } from "../../src/image/prepare.js";
import { readProcessorConfig } from "../../src/image/processor-config.js";
import { type Resample, resampleFilters, resize } from "../../src/image/resize.js";
import { readTimmConfig } from "../../src/image/timm-config.js";
import type { RgbImage } from "../../src/image/types.js";

interface Hashed {
  readonly width: number;
  readonly height: number;
  readonly sha256: string;
}

interface Prepared {
  readonly config: Json;
  readonly rows: readonly { readonly picture: number; readonly shape: readonly number[]; readonly values: string }[];
}

interface Fixture {
  readonly files: Readonly<Record<string, Hashed & { readonly bytes: string }>>;
  readonly pixels: readonly { readonly width: number; readonly height: number; readonly data: string }[];
  readonly resizes: readonly (Hashed & { readonly picture: number; readonly filter: Resample })[];
  readonly processors: readonly Prepared[];
  readonly timm: readonly Prepared[];
}

/** PICTURES_FIXTURE: another file of the same script. */
const path = process.env.PICTURES_FIXTURE ?? "test/fixtures/images/pictures.json";
const fixture: Fixture = JSON.parse(readFileSync(path, "utf8"));

const unpacked = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(inflateSync(Buffer.from(text, "base64")));
const images: readonly RgbImage[] = fixture.pixels.map(({ width, height, data }) => ({
  width,
  height,
  data: unpacked(data),
}));

const hashed = ({ width, height, data }: RgbImage): Hashed => ({
  width,
  height,
  sha256: createHash("sha256").update(data).digest("hex"),
});

describe("a file has the pixels that Pillow gives", () => {
  for (const [name, { bytes, ...expected }] of Object.entries(fixture.files)) {
    test(name, async () => {
      assert.deepEqual(hashed(await decodeImage(Buffer.from(bytes, "base64"), 10_000)), expected);
    });
  }
});

test("a picture is resized to Pillow's bytes by every filter", () => {
  for (const { picture, filter, ...expected } of fixture.resizes) {
    const { width, height } = expected;
    const found = hashed(resize(at(images, picture), width, height, filter));
    assert.deepEqual(found, expected, `picture ${picture} to ${width}x${height} by ${filter}`);
  }
});

test("a very tall picture that is shortened loses its height first, as in Pillow", () => {
  const picture = (height: number): RgbImage => ({
    ...{ width: 3, height },
    data: Uint8Array.from({ length: 9 * height }, (_, i) => {
      const [x, y] = [Math.floor(i / 3) % 3, Math.floor(i / 9)];
      return [x * 91 + y * 37, x * 13 + y * y, x * 7 + y * 113][i % 3] ?? 0;
    }),
  });
  for (const [height, to, filter, sha256] of [
    [301, 16, "bilinear", "105cc116d1d15eb33b245606c2bf75d14f75f4fa897d307c9c82ce45a7b47e12"],
    [301, 16, "bicubic", "c0fb8634d3e9644a1bda59e55ecf79fce4121b12a73fbe680adb177d8b35a3c0"],
    [300, 16, "bilinear", "e4c3736290c5a79b8b7ee9444851db9629cb787ec5ab2e45bf08794f5e78dca9"],
    [301, 400, "bicubic", "80ca15b15b19d17d039c9103aab4f75523d7683c7b7c372525fb0e1d7cbdc22a"],
  ] as const) {
    const found = hashed(resize(picture(height), 5, to, filter));
    assert.equal(found.sha256, sha256, `${height} to ${to} by ${filter}`);
  }
});

test("a window of a resized picture has the bytes of the whole one", () => {
  const data = Uint8Array.from({ length: 3 * 31 * 17 }, (_, i) => (i * i * 7 + i * 31) % 256);
  const strip: RgbImage = { width: 1, height: 31 * 17, data };
  for (const image of [{ width: 31, height: 17, data }, { width: 17, height: 31, data }, strip]) {
    for (const filter of resampleFilters) {
      for (const [width, height] of [
        [12, 9],
        [40, 50],
        [image.width, 60],
        [45, image.height],
        [image.width, image.height],
      ] as const) {
        const window = { left: width >> 2, top: height >> 1, width: (width + 1) >> 1, height: (height + 2) >> 2 };
        const whole = resize(image, width, height, filter);
        const rows = Array.from({ length: window.height }, (_, y) => {
          const begin = ((window.top + y) * width + window.left) * 3;
          return [...whole.data.subarray(begin, begin + window.width * 3)];
        });
        assert.deepEqual([...resize(image, width, height, filter, window).data], rows.flat());
      }
    }
  }
});

test("a crop of a strip costs what the crop costs, and a strip that nothing crops is refused where it grows too large", () => {
  const strip: RgbImage = { width: 400_000, height: 1, data: new Uint8Array(1_200_000).fill(50) };
  const config = { image_processor_type: "CLIPImageProcessor", size: { shortest_edge: 224 }, resample: 3 };
  const cropped = preparePixels(strip, readProcessorConfig({ ...config, crop_size: { width: 224, height: 224 } }));
  assert.deepEqual(cropped.shape, [3, 224, 224]);
  const plan = readProcessorConfig({ ...config, do_center_crop: false });
  const message = /of 400000x1 pixels becomes 89600000x224 .* at most 33554432/;
  assert.throws(() => preparePixels(strip, plan), { code: "image_too_large", message });
});

test("of EXIF's orientations, the last that is a whole number counts, as in Pillow", () => {
  type Entry = readonly [type: number, count: number, ...value: number[]];
  const exif = (isLittle: boolean, ...entries: readonly Entry[]): Uint8Array => {
    const view = new DataView(new ArrayBuffer(10 + 12 * entries.length));
    view.setUint16(0, isLittle ? 0x4949 : 0x4d4d);
    view.setUint16(2, 42, isLittle);
    view.setUint32(4, 8, isLittle);
    view.setUint16(8, entries.length, isLittle);
    for (const [i, [type, count, ...value]] of entries.entries()) {
      const at = 10 + 12 * i;
      view.setUint16(at, 0x0112, isLittle);
      view.setUint16(at + 2, type, isLittle);
      view.setUint32(at + 4, count, isLittle);
      for (const [k, byte] of value.entries()) view.setUint8(at + 8 + k, byte);
    }
    return new Uint8Array(view.buffer);
  };
  const found = [
    exif(true, [3, 1, 3], [3, 1, 6]),
    exif(true, [3, 1, 6], [3, 1, 99]),
    exif(true, [3, 2, 6, 0, 3]),
    exif(false, [4, 1, 0, 0, 0, 6]),
    exif(true, [8, 1, 6]),
    exif(true, [1, 1, 6]),
    exif(true, [2, 2, 0x36]),
    exif(true, [3, 0, 6]),
    exif(true, [3, 5, 6]),
  ].map(orientationOf);
  assert.deepEqual(found, [6, 1, 6, 6, 6, 1, 1, 1, 1]);
});

/** float32 steps differ in how they are fused: one unit in the last place of a value of order 1. */
const tolerance = 5e-7;

function checkPrepared({ rows, config }: Prepared, plan: PreprocessPlan): void {
  for (const { picture, shape, values } of rows) {
    const found = preparePixels(at(images, picture), plan);
    const of = `picture ${picture} by ${JSON.stringify(config)}`;
    assert.deepEqual(found.shape, shape, of);
    const expected = new Float32Array(unpacked(values).buffer);
    const worst = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - (found.pixels[i] ?? 99))), 0);
    assert.ok(worst <= tolerance, `${worst} for ${of}`);
  }
}

describe("a picture is prepared as transformers' processors prepare it over Pillow", () => {
  for (const [index, prepared] of fixture.processors.entries()) {
    const { image_processor_type: now, feature_extractor_type: before } = prepared.config;
    test(`${index}: ${now ?? before}`, () => checkPrepared(prepared, readProcessorConfig(prepared.config)));
  }
});

test("a picture is prepared as timm's evaluation prepares it", () => {
  for (const prepared of fixture.timm) {
    const plan = readTimmConfig(prepared.config);
    assert.ok(plan);
    checkPrepared(prepared, plan);
  }
});

test("what timm's config leaves out or empty has timm's default", () => {
  const plain = { crop: { width: 224, height: 224, rounding: "even" }, pad: null, isBgr: false };
  for (const left of [
    {},
    { interpolation: "", crop_pct: null, crop_mode: null, input_size: null, mean: null, std: null },
  ]) {
    const { values, ...rest } = readTimmConfig({ pretrained_cfg: left }) ?? assert.fail();
    const rule = { kind: "shortest", edge: 256, longest: null, multiple: 1 };
    assert.deepEqual(rest, { ...plain, resize: { rule, resample: "bicubic" } });
    assert.deepEqual(values.at(-1), { kind: "normalize", mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] });
  }
});

test("padding is marked in the mask", () => {
  const plan = readProcessorConfig({
    image_processor_type: "DetrImageProcessor",
    size: { shortest_edge: 2, longest_edge: 4 },
    pad_size: { height: 3, width: 5 },
  });
  const { mask } = preparePixels({ width: 4, height: 2, data: new Uint8Array(24) }, plan);
  assert.deepEqual([...mask].map(Number), [1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
});

test("sizes that no processor of a family takes are refused", () => {
  const refused: readonly (readonly [string, Json, RegExp])[] = [
    ["ViT", { size: { longest_edge: 9 } }, /size\.width from 1 to 16384/],
    ["Detr", { size: { shortest_edge: 9 } }, /"longest_edge" beside "shortest_edge"/],
    ["RTDetr", { size: 9 }, /"longest_edge" beside "shortest_edge"/],
    ["PoolFormer", { crop_pct: 1.5 }, /"crop_pct" above 0 and at most 1/],
    ["ConvNext", { crop_pct: null, size: 9 }, /"crop_pct" above 0 and at most 1/],
    ["ConvNext", { do_center_crop: true, crop_size: 8, size: 9 }, /two crops/],
    ["Levit", { size: { max_height: 9, max_width: 9 } }, /max_height/],
  ];
  for (const [family, config, message] of refused)
    assert.throws(() => readProcessorConfig({ image_processor_type: `${family}ImageProcessor`, ...config }), {
      message,
    });
});

test("a picture beyond the size that a model pads to is refused", () => {
  const plan = readProcessorConfig({ do_resize: false, do_pad: true, pad_size: { height: 5, width: 3 } });
  const image = { width: 4, height: 2, data: new Uint8Array(24) };
  assert.throws(() => preparePixels(image, plan), { code: "image_invalid", message: /is 4x2 .* 3x5/ });
});
