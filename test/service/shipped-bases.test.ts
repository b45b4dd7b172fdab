/** What `npm start` serves, and the other shipped task models: with their adapters, on worlds, digits and scenes that their training did not see. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parseArgs, promisify } from "node:util";
import { WebSocket } from "ws";
import { averagePrecision, type SeenPicture } from "../../src/train/detection/average-precision.js";
import type { Box } from "../../src/train/detection/boxes.js";
import { meanLength, playEpisodes, standardWorld, worlds } from "../../tools/recipes/bases/cart-pole.js";
import { type Digit, negative, quarterTurn, readMnist, readUci, side } from "../../tools/recipes/bases/digits-data.js";
import { greyPng } from "../../tools/recipes/bases/png.js";
import { connectPolicy } from "../../tools/recipes/bases/policy-client.js";
import { likeliest } from "../../tools/recipes/bases/policy-play.js";
import { type Style, sceneOf, side as sceneSide } from "../../tools/recipes/bases/scenes-data.js";
import { ApiClient } from "../../web/client/client.js";
import { GenerationSocket, type SocketLike } from "../../web/client/socket.js";
import { isPolicyOfCartPole } from "../../web/tasks/cart-pole.js";
import { post } from "../support/client.js";
import { openService, type RunningService } from "../support/service.js";

const others = ["models/digits-efficientnet", "models/scenes", "models/phrases"];

let shipped: RunningService;

before(async () => {
  const { start } = JSON.parse(readFileSync("package.json", "utf8")).scripts;
  const options = { model: { type: "string", multiple: true }, adapters: { type: "string" } } as const;
  const { values } = parseArgs({ args: start.replace(/^.* serve /, "").split(" "), options });
  const { model = [], adapters = "" } = values;
  shipped = await openService({ model: [...model, ...others], adapters, noModelAdapters: "false", maxContext: "128" });
});

after(() => shipped[Symbol.asyncDispose]());

/** Names of the adapters that a base brought along. */
async function broughtBy(base: string): Promise<string[]> {
  const response = await fetch(`${shipped.url}/v1/adapters`);
  const { data } = (await response.json()) as { data: { name: string; base: string; source: string }[] };
  return data.filter((adapter) => adapter.base === base && adapter.source === "base").map(({ name }) => name);
}

test("the policy balances the pole, and with its motors reversed only by its adapter", async () => {
  assert.deepEqual(await broughtBy("policy"), ["reversed-motors"]);
  await using client = await connectPolicy(shipped.url);
  const steps = async (model: string, world = standardWorld): Promise<number> =>
    meanLength(await playEpisodes(world, likeliest(client, model), 4, 31));
  assert.equal(await steps("policy"), 500);
  assert.ok((await steps("policy", worlds["reversed-motors"])) < 20);
  assert.equal(await steps("reversed-motors", worlds["reversed-motors"]), 500);
});

test("the page finds the policy by its tensors, and asks it over its socket", async () => {
  const client = new ApiClient({ baseUrl: `${shipped.url}/` });
  assert.deepEqual((await client.server()).bases?.map(({ name, task }) => [name, task]).slice(1, 3), [
    ["digits", "image-classification"],
    ["policy", "tensors"],
  ]);
  assert.ok(isPolicyOfCartPole(await client.metadata("policy")));
  assert.ok(!isPolicyOfCartPole(await client.metadata("digits")));
  const open = (url: string, protocols: string[]): SocketLike => new WebSocket(url, protocols);
  const socket = new GenerationSocket({ url: `${shipped.url.replace("http", "ws")}/v1/ws`, open });
  const leaning = { name: "observation", datatype: "FP32", shape: [1, 4], data: [0, 0, 0.1, 0] };
  const ask = async (model: string): Promise<boolean> => {
    const [logits, ...others] = await socket.infer({ model, inputs: [leaning] });
    assert.deepEqual([logits?.name, logits?.shape, others], ["logits", [1, 2], []]);
    const [left = 0, right = 0] = logits?.data ?? [];
    return right > left;
  };
  assert.deepEqual(await Promise.all([ask("policy"), ask("reversed-motors")]), [true, false]);
  await assert.rejects(socket.infer({ model: "policy", inputs: [] }), { code: /^invalid/ });
  socket.close();
});

test("the Use command of every shipped card works as it stands", async () => {
  const folders = [...readdirSync("adapters"), ...readdirSync("models")].flatMap((name) => {
    const base = join("models", name);
    const own = join(base, "adapters");
    return [join("adapters", name), base, ...(existsSync(own) ? readdirSync(own).map((each) => join(own, each)) : [])];
  });
  const cards = folders.map((folder) => join(folder, "README.md")).filter((path) => existsSync(path));
  assert.equal(cards.length, 22);
  const run = promisify(execFile);
  const asked = cards.map(async (path) => {
    const [, command] = /## Use[\s\S]*?```sh\n(curl [\s\S]*?)```/.exec(readFileSync(path, "utf8")) ?? [];
    assert.ok(command, path);
    const here = command.replaceAll("http://localhost:8080", shipped.url).replace("curl ", "curl --fail-with-body ");
    const { stdout } = await run("bash", ["-c", here]).catch((error) => assert.fail(`${path}: ${error.stdout}`));
    assert.ok(stdout.length > 20 && typeof JSON.parse(stdout) === "object", `${path}: ${stdout}`);
  });
  await Promise.all(asked);
});

/** The first label of a picture. */
async function labelOf(model: string, { pixels }: Digit): Promise<string | undefined> {
  const response = await postPicture(model, greyPng(side, side, pixels));
  const [first] = (await response.json()) as { label: string }[];
  return first?.label;
}

const postPicture = (model: string, body: Buffer): Promise<Response> =>
  fetch(`${shipped.url}/models/${model}`, { method: "POST", headers: { "content-type": "image/png" }, body });

/** How many digits a model reads right. */
async function right(model: string, digits: readonly Digit[]): Promise<number> {
  const answers = digits.map(async (digit) => (await labelOf(model, digit)) === String(digit.label));
  return (await Promise.all(answers)).filter(Boolean).length;
}

test("digits drawn in three other ways are told apart by their adapters", async () => {
  const mnist = (await readMnist()).slice(0, 24);
  const hands: Readonly<Record<string, readonly Digit[]>> = {
    "another-hand": (await readUci("tools/recipes/bases/uci-digits.csv.gz")).slice(300, 324),
    negative: mnist.map(negative),
    "quarter-turn": mnist.map(quarterTurn),
  };
  assert.deepEqual(await broughtBy("digits"), Object.keys(hands));
  assert.ok((await right("digits", mnist)) >= 22);
  for (const [hand, digits] of Object.entries(hands)) {
    const [before, after] = [await right("digits", digits), await right(hand, digits)];
    assert.ok(after >= 18 && after >= before + 3, `${hand}: ${before} of 24, with the adapter ${after}`);
  }
});

test("digits turned by a quarter are told apart by an adapter of depthwise convolutions", async () => {
  const hands = ["another-hand", "negative", "quarter-turn"].map((hand) => `${hand}-efficientnet`);
  assert.deepEqual(await broughtBy("digits-efficientnet"), hands);
  const mnist = (await readMnist()).slice(0, 24);
  assert.ok((await right("digits-efficientnet", mnist)) >= 22);
  const turned = mnist.map(quarterTurn);
  assert.ok((await right("digits-efficientnet", turned)) <= 6);
  assert.ok((await right("quarter-turn-efficientnet", turned)) >= 18);
});

test("objects in pictures of two other styles are found by the adapters of the detector", async () => {
  const styles = ["dark-on-light", "outlines"] as const;
  assert.deepEqual(await broughtBy("scenes"), styles);
  const held = (await readMnist()).slice(0, 1000);
  const precision = async (model: string, style: Style): Promise<number> => {
    const pictures = Array.from({ length: 16 }, async (_, i): Promise<SeenPicture> => {
      const { pixels, objects } = sceneOf(held, style, 2, i);
      const response = await postPicture(model, greyPng(sceneSide, sceneSide, pixels));
      const found = (await response.json()) as Detection[];
      return {
        found: found.map(({ score, label, box }) => ({
          ...{ score, label: Number(label) },
          box: boxOf(box.xmin, box.ymin, box.xmax, box.ymax),
        })),
        objects: objects.map(({ label, box }) => ({ label: Number(label), box: boxOf(...box) })),
      };
    });
    return averagePrecision(await Promise.all(pictures));
  };
  assert.ok((await precision("scenes", "bright")) > 0.6);
  for (const style of styles) {
    const [before, after] = [await precision("scenes", style), await precision(style, style)];
    assert.ok(after >= 0.35 && after >= before + 0.3, `${style}: ${before}, with the adapter ${after}`);
  }
});

interface Detection {
  readonly score: number;
  readonly label: string;
  readonly box: { readonly xmin: number; readonly ymin: number; readonly xmax: number; readonly ymax: number };
}

/** From corners to middle and size. */
const boxOf = (left: number, top: number, right: number, bottom: number): Box => [
  (left + right) / 2,
  (top + bottom) / 2,
  right - left,
  bottom - top,
];

test("phrases are translated into German, and by an adapter into French", async () => {
  assert.deepEqual(await broughtBy("phrases"), ["french"]);
  const phrases = [
    ["France, 30 days ago", "Frankreich, vor 30 Tagen", "France, il y a 30 jours"],
    ["Wednesday, May 28, 1975", "Mittwoch, 28. Mai 1975", "mercredi 28 mai 1975"],
    ["Germany, Japan, and India", "Deutschland, Japan und Indien", "Allemagne, Japon et Inde"],
    ["128 kilometers", "128 Kilometer", "128 kilomètres"],
    ["in 29 weeks", "in 29 Wochen", "dans 29 semaines"],
  ] as const;
  const translate = async (model: string): Promise<string[]> => {
    const response = await post(shipped.url, `/models/${model}`, { inputs: phrases.map(([english]) => english) });
    const answers = (await response.json()) as { translation_text: string }[];
    return answers.map(({ translation_text: text }) => text);
  };
  const translations = await Promise.all([translate("phrases"), translate("french")]);
  assert.deepEqual(translations, [phrases.map(([, german]) => german), phrases.map(([, , french]) => french)]);
});
