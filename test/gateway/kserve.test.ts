/** The Open Inference Protocol without a server: the specification's examples, tensors as bytes, and the bounds of describing a model. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { deferred } from "../../src/base/async.js";
import { LorikeetError } from "../../src/base/errors.js";
import type { TaskEngine, TaskPort, TaskSignature, TaskTensor, TaskType } from "../../src/engine/task/types.js";
import type { Catalog } from "../../src/gateway/catalog.js";
import { parseInfer, parseNamedInfer, serializeInfer } from "../../src/gateway/kserve/infer.js";
import { BinaryMessage } from "../../src/gateway/kserve/message.js";
import { Signatures } from "../../src/gateway/tasks/signatures.js";

const port = (name: string, type: TaskType, shape: TaskPort["shape"]): TaskPort => ({ name, type, shape, limit: null });

/** The model of the extension's example; UINT32 is no type of ONNX graphs here, so INT32 stands for it. */
const signature: TaskSignature = {
  inputs: [port("input0", "int32", [2, 2]), port("input1", "bool", [3])],
  outputs: [port("output0", "float32", [3, 2]), port("half", "float16", [2])],
  isBatched: false,
};

const example = {
  model_name: "mymodel",
  inputs: [
    { name: "input0", shape: [2, 2], datatype: "INT32", parameters: { binary_data_size: 16 } },
    { name: "input1", shape: [3], datatype: "BOOL", parameters: { binary_data_size: 3 } },
  ],
  outputs: [{ name: "output0", parameters: { binary_data: true } }],
};
const exampleBytes = Buffer.concat([Buffer.from(Int32Array.of(1, -2, 3, 2 ** 31 - 1).buffer), Buffer.from([1, 0, 1])]);

const output0: TaskTensor = { type: "float32", shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
/** 1.5 and infinity. */
const half: TaskTensor = { type: "float16", shape: [2], data: Uint16Array.of(0x3e00, 0x7c00) };
const found = {
  model: "mymodel",
  labels: null,
  rows: [
    new Map([
      ["output0", output0],
      ["half", half],
    ]),
  ],
};

const refusal = (body: unknown, bytes: Uint8Array | null = exampleBytes): string => {
  try {
    parseInfer("mymodel", bytes === null ? body : new BinaryMessage(body, [bytes]), signature);
  } catch (error) {
    assert.ok(error instanceof LorikeetError && error.status === 400, String(error));
    return error.message;
  }
  return assert.fail("it is refused");
};

describe("tensors as bytes", () => {
  test("the extension's example is read, and answered with 24 bytes behind the JSON", () => {
    const odd = Buffer.concat([Buffer.from([0]), exampleBytes]).subarray(1); // elements need not be aligned
    const request = parseInfer("mymodel", new BinaryMessage(example, [odd]), signature);
    assert.deepEqual(
      [...(request.inputs[0] ?? [])],
      [
        ["input0", { type: "int32", shape: [2, 2], data: Int32Array.of(1, -2, 3, 2 ** 31 - 1) }],
        ["input1", { type: "bool", shape: [3], data: Uint8Array.of(1, 0, 1) }],
      ],
    );
    const answer = serializeInfer(request, found);
    assert.ok(answer instanceof BinaryMessage);
    assert.deepEqual(answer.json, {
      model_name: "mymodel",
      model_version: "1",
      outputs: [{ name: "output0", datatype: "FP32", shape: [3, 2], parameters: { binary_data_size: 24 } }],
    });
    assert.deepEqual(Buffer.concat(answer.tensors), Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer));
  });

  test("binary_data_output is for all outputs, and binary_data for one of them", () => {
    const inputs = example.inputs;
    const parameters = { binary_data_output: true, timeout: 5 };
    const outputs = [{ name: "half" }, { name: "output0", parameters: { binary_data: false } }];
    const mixed = parseInfer("m", new BinaryMessage({ inputs, parameters, outputs }, [exampleBytes]), signature);
    const answer = serializeInfer(mixed, found);
    assert.ok(answer instanceof BinaryMessage);
    assert.deepEqual(Object(answer.json).outputs, [
      { name: "half", datatype: "FP16", shape: [2], parameters: { binary_data_size: 4 } },
      { name: "output0", datatype: "FP32", shape: [3, 2], data: [1, 2, 3, 4, 5, 6] },
    ]);
    const json = serializeInfer(parseInfer("m", new BinaryMessage({ inputs }, [exampleBytes]), signature), found);
    assert.deepEqual(Object(json).outputs[1].data, [1.5, null], "half floats are numbers in JSON");
  });

  test("sizes that do not add up, elements that do not exist and parameters that are not kept are refused", () => {
    const [first, second] = example.inputs;
    const sized = (size: unknown) => ({ inputs: [{ ...first, parameters: { binary_data_size: size } }, second] });
    const cases: [body: unknown, bytes: Uint8Array | null, message: RegExp][] = [
      [
        example,
        exampleBytes.subarray(1),
        /`inputs` has a `binary_data_size` of 19 bytes in all; 18 bytes follow the JSON/,
      ],
      [example, null, /of 19 bytes in all; 0 bytes follow/],
      [{ inputs: [first] }, exampleBytes, /of 16 bytes in all; 19 bytes follow/],
      [sized(15), exampleBytes.subarray(1), /`inputs\[0\].data` has 15 bytes of data; INT32 \[2, 2\] takes 16/],
      [sized(2 ** 52), exampleBytes, /of \d+ bytes in all; 19 bytes follow/],
      [sized(-1), exampleBytes, /`inputs\[0\].parameters.binary_data_size` must be a number of bytes; found -1/],
      [sized("16"), exampleBytes, /must be a number of bytes; found the string "16"/],
      [example, Buffer.alloc(19, 2), /`inputs\[1\].data` has the byte 2 at position 0; 0 and 1 are BOOL's/],
      [
        { inputs: [{ ...first, data: [1, 2, 3, 4] }, second] },
        exampleBytes,
        /elements as JSON and a `binary_data_size`; one of the two is allowed/,
      ],
      [
        { inputs: [{ name: "a", shape: [1], datatype: "FP32" }] },
        null,
        /`inputs\[0\].data` is required; found nothing/,
      ],
      [
        { inputs: [{ name: "a", shape: [1], datatype: "FP16", data: [1] }] },
        null,
        /has FP16 as JSON; it comes as binary data, with `binary_data_size`/,
      ],
      [
        { inputs: [{ name: "a", shape: [1], datatype: "INT64", data: [2 ** 53] }] },
        null,
        /an element at position 0 that JSON does not hold exactly; integers beyond 2\^53 come as binary data/,
      ],
      [
        { inputs: [{ name: "a", shape: [2, -1], datatype: "FP32", data: [] }] },
        null,
        /^`inputs\[0\].shape\[1\]` must be an integer from 0; found -1/,
      ],
      [
        { ...example, outputs: [{ name: "output0", parameters: { classification: 2 } }] },
        exampleBytes,
        /The parameter `outputs\[0\].parameters.classification` is not supported/,
      ],
      [
        { ...example, parameters: { binary_data_output: 1 } },
        exampleBytes,
        /binary_data_output` must be true or false/,
      ],
      [[], exampleBytes, /The body must be a JSON object/],
    ];
    for (const [body, bytes, message] of cases) assert.match(refusal(body, bytes), message);
  });

  test("an integer that JSON does not hold exactly is refused with its output's name, and comes as bytes", () => {
    const ids: TaskTensor = { type: "int64", shape: [1], data: BigInt64Array.of(2n ** 63n - 1n) };
    const answer = { ...found, rows: [new Map([["output0", ids]])] };
    const inputs = [{ ...example.inputs[0], parameters: {}, data: [1, 2, 3, 4] }];
    const request = (parameters: object) => parseInfer("m", { inputs, parameters }, signature);
    assert.throws(
      () => serializeInfer(request({}), answer),
      /The output "output0" has 9223372036854775807, which JSON does not hold exactly; ask for it as bytes/,
    );
    assert.ok(serializeInfer(request({ binary_data_output: true }), answer) instanceof BinaryMessage);
  });

  test("a message that names its model gets its outputs as bytes if it came as bytes", () => {
    const { model_name: _, outputs: __, ...json } = example;
    const named = parseNamedInfer(new BinaryMessage({ ...json, model: "plays" }, [exampleBytes]), signature);
    assert.deepEqual([named.model, named.wanted.map(({ isBinary }) => isBinary)], ["plays", [true, true]]);
    const [first] = json.inputs;
    const text = { inputs: [{ ...first, parameters: {}, data: [1, 2, 3, 4] }] };
    const base = parseNamedInfer(text, signature);
    assert.deepEqual([base.model, base.wanted.map(({ isBinary }) => isBinary)], [null, [false, false]]);
    assert.throws(
      () => parseNamedInfer({ ...text, model: 7 }, signature),
      /`model` must be the name of a model.*found 7/,
    );
  });
});

describe("what a model takes and gives", () => {
  const rig = () => {
    const loads: { digest: string | null; end: (error?: Error) => void }[] = [];
    const engine = {
      signature,
      limits: { maxQueue: 2 },
      outputsOf: (digest: string | null) => {
        const load = deferred<readonly TaskPort[]>();
        const ports = [port(`of ${digest}`, "float32", [1])];
        loads.push({ digest, end: (error) => (error ? load.reject(error) : load.resolve(ports)) });
        return load.promise;
      },
    } as unknown as TaskEngine;
    let held = 0;
    const catalog = {
      resolve: (model: string) => {
        held++;
        return { weightsDigest: model === "base" ? null : model, release: () => held-- };
      },
    } as unknown as Catalog;
    const times = { queueTimeoutMs: 60_000, requestTimeoutMs: 60_000 };
    return { signatures: new Signatures({ engine, catalog, times }), loads, held: () => held };
  };
  const { signal } = new AbortController();

  test("an adapter is loaded once, for all who ask, and remembered", async () => {
    const { signatures, loads, held } = rig();
    assert.equal(await signatures.of("base", signal), signature);
    const both = [signatures.of("a", signal), signatures.of("a", signal)];
    loads[0]?.end();
    const [one, other] = await Promise.all(both);
    assert.equal(one, other);
    assert.deepEqual(
      one?.outputs.map(({ name }) => name),
      ["of a"],
    );
    assert.equal(await signatures.of("a", signal), one);
    assert.deepEqual([loads.length, held()], [1, 0]);
  });

  test("at most --max-queue adapters wait to be loaded, and who leaves does not wait", async () => {
    const { signatures, loads, held } = rig();
    const leaving = new AbortController();
    const left = signatures.of("a", leaving.signal);
    const failed = signatures.of("b", signal);
    await assert.rejects(signatures.of("c", signal), { code: "queue_full", found: 2, allowed: 2 });
    leaving.abort();
    await assert.rejects(left, { code: "cancelled" });
    await assert.rejects(signatures.of("c", signal), { code: "queue_full" }, "the load that was left goes on");
    loads[0]?.end();
    loads[1]?.end(new LorikeetError("adapter_damaged", "It is damaged."));
    await assert.rejects(failed, { code: "adapter_damaged" });
    const again = signatures.of("b", signal);
    loads[2]?.end();
    assert.equal((await again).outputs[0]?.name, "of b", "a load that failed is not remembered");
    assert.equal(held(), 0);
  });
});
