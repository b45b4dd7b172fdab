/** ONNX files that contradict themselves or reach for what is not theirs: one clear error, before ONNX Runtime sees them. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { openOnnx } from "../../src/graph/open.js";
import { readOnnx } from "../../src/graph/read.js";
import {
  create,
  decodeModel,
  encodeModel,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from "../../src/onnx/codec.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { type FileSpec, floatTensor, graphOf, onnxFile } from "../support/onnx-file.js";
import { runGraph } from "../support/task-models.js";

const base: FileSpec = {
  ...{ inputs: { x: [2] }, outputs: { y: [2] } },
  nodes: [{ op: "Relu", name: "relu", inputs: ["x"], outputs: ["y"] }],
};
const relu = (name: string, from: string, to: string) => ({ op: "Relu", name, inputs: [from], outputs: [to] });
const body = graphOf({ inputs: {}, outputs: { a: [2] }, nodes: [relu("inner", "y", "a")] });
const tensor = (fields: Partial<TensorProto>): TensorProto =>
  create(TensorProtoSchema, { name: "w", dataType: 1, ...fields } as Parameters<
    typeof create<typeof TensorProtoSchema>
  >[1]);

const files: Readonly<Record<string, readonly [spec: Partial<FileSpec>, message: RegExp]>> = {
  "a cycle": [
    { nodes: [relu("one", "b", "y"), relu("two", "y", "b")] },
    /has a cycle: node "(one|two)" depends on its own output/,
  ],
  "a node that reads itself": [{ nodes: [relu("one", "y", "y")] }, /has a cycle: node "one"/],
  "a branch that reads its own node": [
    {
      ...{ inputs: { x: [2], c: [] }, types: { c: 9 } },
      nodes: [
        { op: "If", name: "if", inputs: ["c"], outputs: ["y"], attributes: { then_branch: body, else_branch: body } },
      ],
    },
    /has a cycle: node "if"/,
  ],
  "an input that nothing produces": [
    { nodes: [relu("one", "z", "y")] },
    /node "one" \("Relu"\) that reads "z", which nothing produces/,
  ],
  "an output that nothing produces": [{ outputs: { q: [2] } }, /an output "q" that no node produces/],
  "no inputs": [
    { inputs: {}, nodes: [relu("one", "w", "y")], initializers: [floatTensor("w", [2], [1, 2])] },
    /bad\.onnx has no inputs/,
  ],
  "no outputs": [{ outputs: {} }, /bad\.onnx has no outputs/],
  "two values of one name": [
    { nodes: [relu("one", "x", "y"), relu("two", "x", "y")] },
    /defines "y" twice, .* node "two"/,
  ],
  "two nodes of one name": [{ nodes: [relu("one", "x", "z"), relu("one", "z", "y")] }, /two nodes with the name "one"/],
  "a custom domain": [
    { domains: ["evil"], nodes: [{ op: "Run", name: "it", domain: "evil", inputs: ["x"], outputs: ["y"] }] },
    /node "it" with the operator "evil.Run" of opset 21; operators of ai.onnx and com.microsoft are allowed/,
  ],
  "an operator that does not exist": [
    { nodes: [{ ...relu("one", "x", "y"), op: "Nothing" }] },
    /node "one" .* "Nothing" of opset 21/,
  ],
  "sizes that the data do not fill": [
    { initializers: [floatTensor("w", [2, 3], [1])] },
    /tensor "w" the sizes \[2, 3\], which are 6 elements, and data of 1/,
  ],
  "raw bytes of another length": [
    { initializers: [tensor({ dims: [4n], rawData: new Uint8Array(12) })] },
    /tensor "w" the sizes \[4\], which take 16 bytes as float32, and 12 bytes of data/,
  ],
  "a negative size": [{ initializers: [tensor({ dims: [-4n] })] }, /tensor "w" a size of -4/],
  "a claim of 2 GB": [
    { initializers: [tensor({ dims: [2n ** 29n] })] },
    /tensor "w" the sizes \[536870912\], which are 536870912 elements, and data of 0/,
  ],
  "a claim beyond all memory": [
    { initializers: [tensor({ dims: [2n ** 40n, 2n ** 40n] })] },
    /tensor "w" the sizes .* more than any file holds/,
  ],
  "text as a weight": [
    { initializers: [tensor({ dims: [], dataType: 8 })] },
    /tensor "w" the element type STRING; float32, /,
  ],
  "an input of text": [{ types: { x: 8 } }, /input "x" the element type STRING/],
};

for (const [what, [spec, message]] of Object.entries(files)) {
  test(`${what} is refused, and the error names the node or the tensor`, () => {
    const bytes = onnxFile({ ...base, ...spec });
    assert.throws(
      () => readOnnx(bytes, "bad.onnx", () => assert.fail("no external data is expected")),
      (error) => error instanceof LorikeetError && /^model_/.test(error.code) && message.test(error.message),
    );
  });
}

test("a size of -1 is one that the file does not know, and other negative ones are refused", () => {
  const sized = (size: number) => onnxFile({ ...base, inputs: { x: [size, 2] }, outputs: { y: [size, 2] } });
  const none = () => assert.fail("no external data is expected");
  assert.deepEqual(readOnnx(sized(-1), "model.onnx", none).graph.inputs[0]?.shape, ["x.0", 2]);
  assert.throws(() => readOnnx(sized(-2), "bad.onnx", none), /gives value "x" a size of -2; 0 or more is allowed/);
});

test("an output that is listed twice is refused", () => {
  const model = decodeModel(onnxFile(base));
  model.graph?.output.push(...model.graph.output);
  assert.throws(() => readOnnx(encodeModel(model), "bad.onnx", () => assert.fail()), /lists the output "y" twice/);
});

test("graphs that are nested too deep are refused", () => {
  let inner = graphOf({ inputs: {}, outputs: { a: [2] }, nodes: [relu("inner", "x", "a")] });
  for (let depth = 0; depth < 20; depth++) {
    const empty = graphOf({ inputs: {}, outputs: { a: [2] }, nodes: [relu("inner", "x", "a")] });
    inner = graphOf({
      ...{ inputs: {}, outputs: { a: [2] } },
      nodes: [{ op: "If", inputs: ["c"], outputs: ["a"], attributes: { then_branch: inner, else_branch: empty } }],
    });
  }
  const nodes = [{ op: "If", inputs: ["c"], outputs: ["y"], attributes: { then_branch: inner, else_branch: inner } }];
  const bytes = onnxFile({ inputs: { x: [2], c: [] }, types: { c: 9 }, outputs: { y: [2] }, nodes });
  assert.throws(() => readOnnx(bytes, "deep.onnx", () => assert.fail()), /nests graphs deeper than 16 levels/);
});

const folder = mkdtempSync(join(tmpdir(), "lorikeet-onnx-"));
after(() => rmSync(folder, { recursive: true }));
mkdirSync(join(folder, "model"));
writeFileSync(join(folder, "secret"), new Uint8Array(64));
const numbers = Float32Array.from({ length: 8 }, (_, i) => i);
writeFileSync(join(folder, "model", "weights"), new Uint8Array(numbers.buffer));
symlinkSync(join(folder, "secret"), join(folder, "model", "link"));

/** A file that adds two weights, which lie outside of it. */
async function openExternal(entries: Readonly<Record<string, string>>, dims: readonly bigint[] = [2n]) {
  const externalData = Object.entries(entries).map(([key, value]) =>
    create(StringStringEntryProtoSchema, { key, value }),
  );
  const initializers = [tensor({ dims: [...dims], dataLocation: 1, externalData })];
  const path = join(folder, "model", "model.onnx");
  writeFileSync(path, onnxFile({ ...base, initializers, nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }] }));
  return await openOnnx(path, "model.onnx");
}

test("external data stays in its file, and ONNX Runtime reads it there", async () => {
  const { graph } = await openExternal({ location: "weights", offset: "8", length: "8" });
  const { data } = graph.initializers[0] ?? assert.fail();
  assert.ok(
    data.kind === "external" && data.offset === 8 && data.byteLength === 8 && data.file.endsWith("/model/weights"),
  );
  const outputs = await runGraph(graph, new Map([["x", Tensor.from("float32", [2], Float32Array.of(10, 20))]]));
  assert.deepEqual(outputs.get("y")?.data, Float32Array.of(12, 23));
});

test("external data outside of the model's folder, or shorter than it claims, is refused", async () => {
  const refused: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
    [{ location: "../secret" }, /"..\/secret"; a relative path to a file in its own folder is allowed/],
    [{ location: join(folder, "secret") }, /a relative path to a file in its own folder is allowed/],
    [{ location: "" }, /a relative path to a file in its own folder is allowed/],
    [{ location: "a/../../secret" }, /a relative path to a file in its own folder is allowed/],
    [{ location: "link" }, /a link to another folder/],
    [{ location: "none" }, /which is not there: download it too/],
    [{ location: "." }, /a link to another folder|not a regular file/],
    [{ location: "weights", offset: "28" }, /in bytes 28 to 36 of "weights", which has 32/],
    [{ location: "weights", offset: "-4" }, /the offset "-4"; a count of bytes is allowed/],
    [{ location: "weights", length: "12" }, /12 bytes of external data; its sizes and type take 8/],
  ];
  for (const [entries, message] of refused) {
    await assert.rejects(openExternal(entries), (error) => {
      assert.ok(error instanceof LorikeetError && error.code === "model_invalid");
      assert.match(error.message, message);
      return true;
    });
  }
  await assert.rejects(
    openExternal({ location: "weights" }, [2n ** 29n]),
    /in bytes 0 to 2147483648 of "weights", which has 32/,
  );
});

test("a file of the Hugging Face cache, which is a link among the blobs, finds its external data there", async () => {
  await openExternal({ location: "weights" });
  const [blobs, snapshot] = [join(folder, "blobs"), join(folder, "snapshot")];
  for (const made of [blobs, snapshot]) mkdirSync(made);
  renameSync(join(folder, "model", "model.onnx"), join(blobs, "1"));
  writeFileSync(join(blobs, "2"), new Uint8Array(32));
  symlinkSync("../blobs/1", join(snapshot, "model.onnx"));
  symlinkSync("../blobs/2", join(snapshot, "weights"));
  const { graph } = await openOnnx(join(snapshot, "model.onnx"), "model.onnx");
  const { data } = graph.initializers[0] ?? assert.fail();
  assert.ok(data.kind === "external" && data.file.endsWith("/blobs/2"));
});
