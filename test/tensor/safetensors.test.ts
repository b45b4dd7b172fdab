import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { LorikeetError } from "../../src/base/errors.js";
import { viewAs } from "../../src/tensor/dtype.js";
import { SafetensorsFile, type SafetensorsOptions } from "../../src/tensor/safetensors.js";
import { streamTensors } from "../../src/tensor/safetensors-stream.js";
import { type TensorToWrite, writeSafetensors } from "../../src/tensor/safetensors-write.js";
import { transpose } from "../../src/tensor/transpose.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-tensor-"));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, "test.safetensors");
const reference = "test/fixtures/tensor/all-dtypes.safetensors"; // written by safetensors.torch.save_file 0.8

function fileOf(header: unknown, data = new Uint8Array(), claimed?: number): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(claimed ?? json.length));
  return Buffer.concat([length, json, data]);
}

async function refusal(bytes: Uint8Array, options: SafetensorsOptions = {}): Promise<LorikeetError> {
  writeFileSync(path, bytes);
  try {
    const file = await SafetensorsFile.open(path, options);
    await file.close();
  } catch (error) {
    assert.ok(error instanceof LorikeetError, String(error));
    return error;
  }
  assert.fail("the file was accepted");
}

const x = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
const eight = new Uint8Array(8);

test("files of the reference implementation are read, in every dtype", async () => {
  await using file = await SafetensorsFile.open(reference);
  assert.deepEqual({ ...file.metadata }, { format: "pt" });
  assert.equal(file.tensors.size, 18);
  assert.deepEqual([...(await file.readFloat32("z.weight"))], [-2, -1, 0, 1, 2, 3]);
  assert.deepEqual([...(await file.readFloat32("h"))], [-2, -1, 0, 1, 2, 3]);
  assert.deepEqual([...(await file.readFloat32("b"))], [-2, -1, 0, 1, 2, 3]);
  assert.deepEqual([...(await file.readFloat32("f64"))], [-2, -1, 0, 1, 2, 3]);
  assert.deepEqual([...viewAs("I64", await file.read("i64"))], [-2n, -1n, 0n, 1n, 2n, 3n]);
  assert.deepEqual([...viewAs("I16", await file.read("i16", { begin: 2, end: 6 }))], [-1, 0]);
  assert.deepEqual([...(await file.readFloat32("scalar"))], [3.5]);
  assert.equal((await file.read("empty")).length, 0);
  const { offset, byteLength } = file.tensor("a");
  assert.deepEqual(readFileSync(reference).subarray(offset, offset + byteLength), Buffer.from(await file.read("a")));
  await assert.rejects(file.readFloat32("i8"), /holds tensor "i8" as I8; F32, F16, BF16 or F64 is allowed/);
  await assert.rejects(file.read("nope"), /holds no tensor "nope"/);
});

test("written files equal those of the reference implementation, byte for byte", async () => {
  await using file = await SafetensorsFile.open(reference);
  const tensors: TensorToWrite[] = [];
  for (const [name, { dtype, shape }] of file.tensors) {
    tensors.unshift({ name, dtype, shape, data: () => file.read(name) });
  }
  await writeSafetensors(path, tensors, file.metadata, { fsync: true });
  assert.deepEqual(readFileSync(path), readFileSync(reference));
});

test("tensors whose data does not match their shape, and duplicate names, are not written", async () => {
  const tensor = { name: "a", dtype: "F32", shape: [2], data: new Float32Array(3) } as const;
  await assert.rejects(writeSafetensors(path, [tensor]), /"a" has 12 bytes, but F32 \[2\] takes 8/);
  await assert.rejects(writeSafetensors(path, [tensor, tensor]), /cannot hold two tensors named "a"/);
});

test("written tensors are read back", async () => {
  const name = fc.string({ unit: "grapheme", maxLength: 8 }).filter((text) => text !== "__metadata__");
  const tensor = fc.tuple(name, fc.float32Array({ maxLength: 5 }));
  const tensors = fc.uniqueArray(tensor, { selector: ([key]) => key, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(tensors, fc.dictionary(name, fc.string({ unit: "grapheme" })), async (entries, metadata) => {
      const list = entries.map(([key, data]) => ({ name: key, dtype: "F32", shape: [data.length], data }) as const);
      await writeSafetensors(path, list, metadata);
      await using file = await SafetensorsFile.open(path);
      assert.deepEqual({ ...file.metadata }, { ...metadata });
      for (const [key, data] of entries) assert.deepEqual(await file.readFloat32(key), data);
    }),
    { numRuns: 40 },
  );
});

test("gaps between tensors and shared empty ranges are allowed", async () => {
  const empty = { dtype: "F32", shape: [0], data_offsets: [8, 8] };
  writeFileSync(path, fileOf({ x: { ...x, data_offsets: [8, 16] }, e: empty, f: empty }, new Uint8Array(32)));
  await (await SafetensorsFile.open(path)).close();
});

const refusals: [string, Buffer, RegExp][] = [
  ["an empty file", Buffer.alloc(0), /is 0 bytes long; a safetensors file has at least 10/],
  ["a pickle", Buffer.from("PK\u0003\u0004aaaaaaaaaaaaaaaaaaaaaa"), /is a PyTorch pickle.* never opened/],
  ["noise", Buffer.from("QK\u0003\u0004aaaaaaaaaaaaaaaaaaaaaa"), /claims a header of \d+ bytes; at most 33554432/],
  ["a header past the end", fileOf("{}", eight, 1000), /claims a header of 1000 bytes, but is 18 bytes long/],
  ["a header of length 0", fileOf("{}", eight, 0), /claims a header of 0 bytes/],
  ["an array", fileOf([]), /not a JSON object/],
  ["broken JSON", fileOf("{]"), /not JSON/],
  ["bytes that are not UTF-8", fileOf("", Buffer.from([0x7b, 0xff, 0x7d]), 3), /not UTF-8/],
  ["deep nesting", fileOf(`{"a":${"[".repeat(100000)}`), /nested deeper than 3/],
  ["a duplicate name", fileOf(`{"a":{},"b":{},"\\u0061":{}}`), /names "a" twice/],
  ["a duplicate key", fileOf(`{"a":{"dtype":"F32","dtype":"F32"}}`), /names "dtype" twice/],
  ["metadata that is not strings", fileOf({ __metadata__: { a: 1 } }), /"a" that is not a string/],
  ["an unknown dtype", fileOf({ x: { ...x, dtype: "F8_E4M3" } }, eight), /dtype "F8_E4M3"; known are F64, F32/],
  ["an inherited dtype", fileOf({ x: { ...x, dtype: "toString" } }, eight), /dtype "toString"/],
  ["an unknown key", fileOf({ x: { ...x, y: 1 } }, eight), /unknown key "y"/],
  ["a negative size", fileOf({ x: { ...x, shape: [-2] } }, eight), /shape that is not/],
  ["a broken size", fileOf({ x: { ...x, shape: [1.5] } }, eight), /shape that is not/],
  ["a shape of many axes", fileOf({ x: { ...x, shape: Array(17).fill(1) } }, eight), /up to 16 whole sizes/],
  ["a shape too small", fileOf({ x: { ...x, shape: [1] } }, eight), /8 bytes, but F32 \[1\] takes 4 bytes/],
  ["a shape that overflows", fileOf({ x: { ...x, shape: [2 ** 52, 2 ** 52] } }, eight), /8 bytes, but F32/],
  ["an end outside", fileOf({ x: { ...x, shape: [3], data_offsets: [0, 12] } }, eight), /0 to 12, outside the 8 bytes/],
  ["an end before the begin", fileOf({ x: { ...x, data_offsets: [8, 0] } }, eight), /8 to 0, outside/],
  ["one offset", fileOf({ x: { ...x, data_offsets: [0] } }, eight), /not two whole numbers/],
  ["a huge offset", fileOf({ x: { ...x, data_offsets: [0, 1e300] } }, eight), /not two whole numbers/],
  [
    "an overlap",
    fileOf({ x, y: { ...x, data_offsets: [4, 12] } }, new Uint8Array(12)),
    /has overlapping tensors "x" and "y"/,
  ],
  ["an entry of null", fileOf({ x: null }), /with no object/],
];

for (const [what, bytes, message] of refusals) {
  test(`refuses ${what}`, async () => {
    const error = await refusal(bytes, { label: "weights" });
    assert.equal(error.code, "adapter_invalid");
    assert.match(error.message, /^The file weights .*\.$/s);
    assert.match(error.message, message);
    assert.notEqual(error.allowed, undefined);
  });
}

test("refuses more tensors or longer headers than the limits allow", async () => {
  const bytes = fileOf({ x, y: { ...x, data_offsets: [8, 16] } }, new Uint8Array(16));
  assert.match((await refusal(bytes, { maxTensors: 1 })).message, /at most 1 are allowed/);
  assert.match((await refusal(bytes, { maxHeaderBytes: 20 })).message, /at most 20 are allowed/);
  assert.equal((await refusal(bytes, { maxTensors: 1, code: "model_invalid" })).code, "model_invalid");
});

test("refuses a missing path and a path that is not a file", async () => {
  await assert.rejects(SafetensorsFile.open(join(folder, "none")), /none cannot be opened \(ENOENT\)/);
  await assert.rejects(SafetensorsFile.open(folder), /is not a regular file/);
});

test("streamed tensors equal those of read(), in any order, and are aligned", async () => {
  const big = new Float32Array(2 ** 20 + 3).map((_, i) => i);
  const list: TensorToWrite[] = [{ name: "big", dtype: "F32", shape: [big.length], data: big }];
  for (let i = 0; i < 20; i++) {
    const [dtype, data] =
      i % 3 ? (["F32", Float32Array.of(i, -i)] as const) : (["U8", Uint8Array.of(i, 1, 2)] as const);
    list.push({ name: `t${i}`, dtype, shape: [data.length], data });
  }
  const header: Record<string, unknown> = {};
  let end = 0;
  const data = Buffer.concat(
    list.map(({ name, dtype, shape, data: view }) => {
      const bytes =
        typeof view === "function" ? Buffer.of() : Buffer.from(view.buffer, view.byteOffset, view.byteLength);
      header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] };
      end += bytes.length;
      return bytes;
    }),
  );
  writeFileSync(path, fileOf(header, data)); // U8 in between: the F32 that follow lie at odd offsets
  await using file = await SafetensorsFile.open(path);
  const names = [...file.tensors.keys()];
  for (const order of [names, [...names].reverse(), ["t3", "t3"], []]) {
    const seen: string[] = [];
    for await (const { name, bytes } of streamTensors(file, order)) {
      seen.push(name);
      viewAs(file.tensor(name).dtype, bytes); // throws when it is not aligned
      assert.deepEqual(Buffer.from(bytes), Buffer.from(await file.read(name)));
    }
    assert.deepEqual(seen, order);
  }
  const rest = streamTensors(file, names);
  await rest.next();
  await rest.return(undefined); // leaving in the middle leaves nothing behind
  await assert.rejects(streamTensors(file, ["nope"]).next(), /holds no tensor "nope"/);
});

test("transposes every shape, also if the rows do not divide into strips", () => {
  fc.assert(
    fc.property(fc.nat({ max: 9 }), fc.nat({ max: 9 }), (rows, columns) => {
      const matrix = Uint16Array.from({ length: rows * columns }, (_, i) => i);
      const turned = transpose(matrix, rows, columns);
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          assert.equal(turned[column * rows + row], matrix[row * columns + column]);
        }
      }
    }),
  );
  assert.throws(() => transpose(new Float32Array(5), 2, 3), /5 elements are not \[2, 3\]/);
});

test("a file that shrinks after it was opened is an error, not zeros", async () => {
  writeFileSync(path, fileOf({ x }, eight));
  await using file = await SafetensorsFile.open(path);
  writeFileSync(path, fileOf({ x }, eight.subarray(4)));
  await assert.rejects(file.read("x"), /ends at byte \d+; \d+ were expected/);
});

test("no mutation of a valid file crashes the reader or makes it read outside the file", async () => {
  const valid = readFileSync(reference);
  const headerEnd = 8 + Number(valid.readBigUInt64LE());
  const edit = fc.record({
    at: fc.nat({ max: headerEnd - 1 }),
    cut: fc.nat({ max: 12 }),
    insert: fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom("{", "[", '"', ":", ",", "9999999999", "-1", "0")),
    keepLength: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
      let bytes = valid;
      for (const { at, cut, insert, keepLength } of edits) {
        const text = Buffer.from(insert).subarray(0, keepLength ? cut : 6);
        bytes = Buffer.concat([bytes.subarray(0, at), text, bytes.subarray(at + cut)]);
        const length = headerEnd - 8 + bytes.length - valid.length;
        if (!keepLength && bytes.length >= 8 && length > 0) bytes.writeBigUInt64LE(BigInt(length));
      }
      writeFileSync(path, bytes);
      let file: SafetensorsFile;
      try {
        file = await SafetensorsFile.open(path);
      } catch (error) {
        assert.ok(error instanceof LorikeetError && error.code === "adapter_invalid", String(error));
        return;
      }
      await using opened = file;
      for (const [name, { offset, byteLength }] of opened.tensors) {
        assert.ok(offset >= 8 && offset + byteLength <= bytes.length);
        assert.equal((await opened.read(name)).length, byteLength);
      }
    }),
    { numRuns: 300 },
  );
});
