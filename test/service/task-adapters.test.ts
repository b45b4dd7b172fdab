/**
 * Adapters of task models on a running server: uploaded over HTTP, mixed in one batch, replaced and deleted. Every row has what PEFT
 * computes with its adapter.
 */

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Tensor } from "../../src/runtime/tensor.js";
import { formOf, post, put, remove, scrape } from "../support/client.js";
import { runHere } from "../support/program.js";
import { adaptersFolder, openService, type RunningService } from "../support/service.js";
import {
  type NamedTensor,
  readExpectedTensors,
  relativeDifference,
  taskModels,
  taskRoot,
  tensorJson,
} from "../support/task-models.js";

const tolerance = 2e-5;
const temporary = mkdtempSync(join(tmpdir(), "lorikeet-task-adapters-"));
after(() => rmSync(temporary, { recursive: true }));

const namesOf = (model: string): string[] => readdirSync(join(taskRoot, model, "adapters")).sort();
const folderOf = (model: string, name: string): string => join(taskRoot, model, "adapters", name);

type Tensors = ReadonlyMap<string, Tensor>;

/** One row, or all rows. Fails unless the server answers. */
async function infer(
  { url }: RunningService,
  name: string,
  inputs: Tensors,
  row: number | null,
): Promise<readonly NamedTensor[]> {
  const metadata = await (await fetch(`${url}/v2/models/${name}`)).json();
  const names = (metadata as { inputs: { name: string }[] }).inputs.map((input) => input.name);
  const body = { inputs: names.map((each) => tensorJson(each, inputs.get(each) ?? assert.fail(each), row)) };
  const response = await post(url, `/v2/models/${name}/infer`, body);
  const answer = (await response.json()) as { outputs?: NamedTensor[]; error?: string };
  return answer.outputs ?? assert.fail(answer.error);
}

const rowOf = ({ shape, data }: Tensor, row: number): number[] => {
  const size = data.length / (shape[0] ?? 1);
  return Array.from(data as Float32Array).slice(row * size, (row + 1) * size);
};

for (const model of taskModels.filter((each) => each !== "marian")) {
  test(`${model}: rows with every uploaded adapter and with none, sent together, equal PEFT's`, async () => {
    await using folder = await adaptersFolder({});
    await using service = await openService({ model: join(taskRoot, model), adapters: folder.path });
    const names = namesOf(model);
    for (const name of names) assert.equal((await put(service.url, name, folderOf(model, name))).outcome, "created");
    const inputs = await readExpectedTensors(model);
    const expected = new Map<string, Tensors>([[model, inputs]]);
    for (const name of names) expected.set(name, await readExpectedTensors(join(model, "adapters", name)));
    const asked = [0, 1, 2, 3].flatMap((row) => [model, ...names].map((name) => ({ name, row })));
    const answers = await Promise.all(asked.map(({ name, row }) => infer(service, name, inputs, row)));
    for (const [i, { name, row }] of asked.entries()) {
      for (const output of answers[i] ?? []) {
        const whole = expected.get(name)?.get(output.name) ?? assert.fail(output.name);
        const largest = rowsLargest(whole);
        const own = rowOf(whole, row);
        assert.deepEqual(output.shape.slice(1), whole.shape.slice(1), `${name} ${output.name}`);
        const worst = own.reduce((most, value, at) => Math.max(most, Math.abs(value - (output.data[at] ?? 1e9))), 0);
        assert.ok(worst <= tolerance * largest, `${name} row ${row} ${output.name}: ${worst / largest}`);
      }
    }
    const together = await infer(service, names[0] ?? "", inputs, null);
    for (const output of together) {
      const whole = expected.get(names[0] ?? "")?.get(output.name) ?? assert.fail();
      assert.ok(relativeDifference(output, whole) <= tolerance);
    }
    await service.assertIdle();
  });
}

const rowsLargest = ({ data }: Tensor): number =>
  Array.from(data as Float32Array).reduce((most, value) => Math.max(most, Math.abs(value)), 0);

test("an adapter is listed, downloaded, replaced, deleted and never answered by the base", async () => {
  const model = "bert-sequence-classification";
  await using folder = await adaptersFolder({ operator: folderOf(model, "attn-r8") });
  await using service = await openService({ model: join(taskRoot, model), adapters: folder.path });
  const { url } = service;
  const inputs = await readExpectedTensors(model);
  const labelled = join(temporary, "labelled");
  cpSync(folderOf(model, "four-labels"), labelled, { recursive: true });
  writeFileSync(join(labelled, "labels.json"), '["a", "b", "c", "d"]');
  const added = await runHere(["adapters", "add", "mine", labelled, "--url", url, "--json"]);
  assert.equal(added.code, 0, added.err);
  const first = JSON.parse(added.out) as { digest: string };
  const listed = (await (await fetch(`${url}/v1/adapters`)).json()) as { data: { name: string; modules: number }[] };
  assert.deepEqual(new Map(listed.data.map(({ name, modules }) => [name, modules])).get("mine"), 5);
  const models = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
  assert.ok(models.data.some(({ id }) => id === "mine"));
  const download = await fetch(`${url}/v1/adapters/mine/download`);
  assert.ok(Buffer.from(await download.arrayBuffer()).includes("labels.json"));
  const [before] = await infer(service, "mine", inputs, 0);
  assert.deepEqual(before?.shape, [1, 4]);
  const statedOf = async (name: string): Promise<readonly number[] | undefined> => {
    const metadata = await (await fetch(`${url}/v2/models/${name}`)).json();
    return (metadata as { outputs: { shape: number[] }[] }).outputs[0]?.shape;
  };
  assert.deepEqual(await Promise.all(["mine", model].map(statedOf)), [
    [-1, 4],
    [-1, 3],
  ]);
  const tagger = join(temporary, "tagger");
  cpSync(folderOf(model, "all-r4-rslora"), tagger, { recursive: true });
  const config = JSON.parse(readFileSync(join(tagger, "adapter_config.json"), "utf8"));
  writeFileSync(join(tagger, "adapter_config.json"), JSON.stringify({ ...config, task_type: "TOKEN_CLS" }));
  const second = await put(url, "mine", tagger);
  assert.deepEqual(second.warnings, [
    'The adapter was trained for token-classification (task_type "TOKEN_CLS"); this base is for text-classification.',
  ]);
  assert.deepEqual([second.outcome, second.digest === first.digest], ["replaced", false]);
  const [replaced] = await infer(service, "mine", inputs, 0);
  assert.deepEqual(replaced?.shape, [1, 3]);
  await remove(url, "mine");
  const response = await post(url, "/v2/models/mine/infer", { inputs: [] });
  assert.equal(response.status, 404);
  await service.assertIdle();
});

test("an adapter of another model is a 422 that says how it differs, and counts as refused", async () => {
  await using folder = await adaptersFolder({});
  const model = "resnet";
  await using service = await openService({ model: join(taskRoot, model), adapters: folder.path });
  const upload = async (source: string) => {
    const body = await formOf(source);
    const response = await fetch(`${service.url}/v1/adapters/bad`, { method: "PUT", body });
    return {
      status: response.status,
      error: ((await response.json()) as { error: { code: string; message: string } }).error,
    };
  };
  const other = await upload(folderOf("efficientnet", "pointwise-r8"));
  assert.deepEqual([other.status, other.error.code], [422, "adapter_invalid"]);
  assert.match(other.error.message, /does not fit the base "resnet" \(its config names "efficientnet"\)/);
  const metrics = await scrape(service.url);
  assert.equal(metrics.get('lorikeet_adapter_validation_seconds_count{outcome="refused"}'), 1);
});

test("a bare .onnx file whose normalizations are folded refuses adapters of its convolutions", async () => {
  await using folder = await adaptersFolder({});
  const bare = join(temporary, "bare.onnx");
  cpSync(join(taskRoot, "resnet", "onnx", "model.onnx"), bare);
  await using service = await openService({ model: bare, adapters: folder.path });
  const body = await formOf(folderOf("resnet", "convs-r8"));
  const response = await fetch(`${service.url}/v1/adapters/convs`, { method: "PUT", body });
  assert.equal(response.status, 422);
  assert.match(await response.text(), /may hold a folded batch normalization whose factor is unknown/);
});
