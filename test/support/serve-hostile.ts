/**
 * A process that serves what should not be served, so that a crash of native code ends it and not the test: `models` or `pictures`, a seed
 * and how many. Writes the number of each before it is tried, and ends with 1 and a sentence if anything but an orderly answer comes.
 */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { LorikeetError } from "../../src/base/errors.js";
import { metadataOf } from "../../src/gateway/kserve/tensors.js";
import { damagedBytes, damagedFields, hostileFiles } from "./damaged-onnx.js";
import { damagedPicture, pictures, random } from "./damaged-pictures.js";
import { openService } from "./service.js";

const [kind = "", seedText = "1", countText = "1"] = process.argv.slice(2);
const seed = Number(seedText);
const count = Number(countText);
const folder = mkdtempSync(join(tmpdir(), "lorikeet-hostile-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));

/** Codes with which a model may be refused at start. */
const startCodes = ["model_invalid", "model_unsupported", "runtime_failed"];

function zeros({ name, datatype, shape }: ReturnType<typeof metadataOf>) {
  const sizes = shape.map((size) => (size === -1 ? 1 : size));
  const length = sizes.reduce((product, size) => product * size, 1);
  return { name, datatype, shape: sizes, data: new Array(Math.min(length, 1000)).fill(0) };
}

async function serveModel(bytes: Uint8Array): Promise<"served" | "refused"> {
  writeFileSync(join(folder, "model.onnx"), bytes);
  let service: Awaited<ReturnType<typeof openService>>;
  try {
    service = await openService({ model: join(folder, "model.onnx"), maxBatch: "2", modelTrialTimeout: "5s" });
  } catch (error) {
    assert.ok(error instanceof LorikeetError, error instanceof Error ? error.stack : String(error));
    assert.ok(startCodes.includes(error.code) && error.message.length < 1000, `${error.code}: ${error.message}`);
    return "refused";
  }
  await using running = service;
  const { gateway } = running.stack;
  assert.ok("signature" in gateway, "a bare file is a task model");
  const inputs = gateway.signature.inputs.map(metadataOf).map(zeros);
  const body = JSON.stringify({ inputs });
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${running.url}/v2/models/model/infer`, { method: "POST", headers, body });
  const answer = await response.text();
  assert.ok(
    response.status === 200 || (response.status >= 400 && response.status < 500),
    `${response.status} ${answer}`,
  );
  JSON.parse(answer);
  return "served";
}

async function models(): Promise<void> {
  const samples = fc.sample(fc.oneof(damagedBytes, damagedFields, damagedFields, hostileFiles, hostileFiles), {
    ...{ seed, numRuns: count },
  });
  const outcomes = { served: 0, refused: 0 };
  for (const [index, bytes] of samples.entries()) {
    process.stdout.write(`${index}\n`);
    outcomes[await serveModel(bytes)]++;
  }
  process.stdout.write(`${JSON.stringify(outcomes)}\n`);
}

async function damagedPictures(): Promise<void> {
  const model = "test/fixtures/tasks/resnet";
  await using service = await openService({ model, maxImagePixels: "100000" });
  const next = random(seed);
  const seeds = Object.values(pictures);
  const outcomes = { served: 0, refused: 0 };
  const headers = { "content-type": "application/octet-stream" };
  const send = (body: Buffer) => fetch(`${service.url}/models/resnet`, { method: "POST", headers, body });
  for (let index = 0; index < count; index++) {
    process.stdout.write(`${index}\n`);
    const body = damagedPicture(seeds[Math.floor(next() * seeds.length)] ?? Buffer.alloc(0), next);
    const response = await send(body);
    const answer: { error?: string } = JSON.parse(await response.text());
    const isOrderly = response.status === 200 || (response.status >= 400 && response.status < 500 && answer.error);
    assert.ok(isOrderly, `${response.status} for ${body.toString("base64")}`);
    outcomes[response.status === 200 ? "served" : "refused"]++;
  }
  assert.equal((await send(pictures["rgb.png"] ?? Buffer.alloc(0))).status, 200, "the model still answers");
  await service.assertIdle();
  process.stdout.write(`${JSON.stringify(outcomes)}\n`);
}

await (kind === "models" ? models() : damagedPictures());
