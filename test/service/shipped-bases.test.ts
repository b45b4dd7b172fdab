/** What `npm start` serves: the shipped task models with their adapters, on worlds and digits that their training did not see. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { parseArgs } from "node:util";
import { meanLength, playEpisodes, standardWorld, worlds } from "../../tools/recipes/bases/cart-pole.js";
import { type Digit, negative, quarterTurn, readMnist, readUci, side } from "../../tools/recipes/bases/digits-data.js";
import { greyPng } from "../../tools/recipes/bases/png.js";
import { connectPolicy } from "../../tools/recipes/bases/policy-client.js";
import { likeliest } from "../../tools/recipes/bases/policy-play.js";
import { openService, type RunningService } from "../support/service.js";

let shipped: RunningService;

before(async () => {
  const { start } = JSON.parse(readFileSync("package.json", "utf8")).scripts;
  const options = { model: { type: "string", multiple: true }, adapters: { type: "string" } } as const;
  const { values } = parseArgs({ args: start.replace(/^.* serve /, "").split(" "), options });
  const { model = [], adapters = "" } = values;
  shipped = await openService({ model, adapters, noModelAdapters: "false" });
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

test("digits drawn in three other ways are told apart by their adapters", async () => {
  const mnist = (await readMnist()).slice(0, 40);
  const uci = (await readUci("tools/recipes/bases/uci-digits.csv.gz")).slice(300, 340);
  const hands: Readonly<Record<string, readonly Digit[]>> = {
    "another-hand": uci,
    negative: mnist.map(negative),
    "quarter-turn": mnist.map(quarterTurn),
  };
  assert.deepEqual(await broughtBy("digits"), Object.keys(hands));
  const right = async (model: string, digits: readonly Digit[]): Promise<number> => {
    const answers = digits.map(async ({ label, pixels }) => {
      const headers = { "content-type": "image/png" };
      const body = greyPng(side, side, pixels);
      const response = await fetch(`${shipped.url}/models/${model}`, { method: "POST", headers, body });
      const [first] = (await response.json()) as { label: string }[];
      return first?.label === String(label);
    });
    return (await Promise.all(answers)).filter(Boolean).length;
  };
  assert.ok((await right("digits", mnist)) >= 36);
  for (const [hand, digits] of Object.entries(hands)) {
    const [before, after] = [await right("digits", digits), await right(hand, digits)];
    assert.ok(after >= 28 && after >= before + 10, `${hand}: ${before} of 40, with the adapter ${after}`);
  }
});
