/** The shipped task models with their adapters, on worlds and digits that their training did not see. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { meanLength, playEpisodes, standardWorld, worlds } from "../../tools/recipes/bases/cart-pole.js";
import { type Digit, negative, quarterTurn, readMnist, readUci, side } from "../../tools/recipes/bases/digits-data.js";
import { greyPng } from "../../tools/recipes/bases/png.js";
import { connectPolicy } from "../../tools/recipes/bases/policy-client.js";
import { likeliest } from "../../tools/recipes/bases/policy-play.js";
import { adaptersFolder, openService } from "../support/service.js";

/** A shipped base with copies of its adapters. */
async function openShipped(name: string) {
  const folder = join("models", name, "adapters");
  const names = readdirSync(folder);
  const store = await adaptersFolder(Object.fromEntries(names.map((adapter) => [adapter, join(folder, adapter)])));
  const service = await openService({ model: join("models", name), adapters: store.path });
  return {
    ...{ names, url: service.url },
    async [Symbol.asyncDispose]() {
      await service[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    },
  };
}

test("the policy balances the pole, and with its motors reversed only by its adapter", async () => {
  await using shipped = await openShipped("policy");
  assert.deepEqual(shipped.names, ["reversed-motors"]);
  await using client = await connectPolicy(shipped.url);
  const steps = async (model: string, world = standardWorld): Promise<number> =>
    meanLength(await playEpisodes(world, likeliest(client, model), 4, 31));
  assert.equal(await steps("policy"), 500);
  assert.ok((await steps("policy", worlds["reversed-motors"])) < 20);
  assert.equal(await steps("reversed-motors", worlds["reversed-motors"]), 500);
});

test("digits drawn in three other ways are told apart by their adapters", async () => {
  await using shipped = await openShipped("digits");
  const mnist = (await readMnist()).slice(0, 40);
  const uci = (await readUci("tools/recipes/bases/uci-digits.csv.gz")).slice(300, 340);
  const hands: Readonly<Record<string, readonly Digit[]>> = {
    "another-hand": uci,
    negative: mnist.map(negative),
    "quarter-turn": mnist.map(quarterTurn),
  };
  assert.deepEqual(shipped.names, Object.keys(hands));
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
