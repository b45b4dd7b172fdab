/** What the recipes promise: the same data for a seed, no test answer that was trained on, options that `train` knows. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import { readCard } from "../../src/adapter/card.js";
import { readConfigFile } from "../../src/cli/options/config-file.js";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { trainOptions } from "../../src/cli/train/options.js";
import { loadTokenizer } from "../../src/text/tokenizer/tokenizer.js";
import { trainCommand } from "../../src/train/card/command.js";
import { loadData } from "../../src/train/data/dataset.js";
import { parseLabelTemplate } from "../../src/train/data/encode.js";
import type { TestRecord } from "../../src/train/files/record.js";
import { trainDefaults } from "../../src/train/settings.js";
import { shippedBases } from "../../tools/recipes/cards/bases.js";
import { readRunRecord, renderCard, type Shipped } from "../../tools/recipes/cards/card.js";
import { languageAdapters } from "../../tools/recipes/cards/language.js";
import { onlyWhenLong } from "../support/long.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-recipes-"));
after(() => rmSync(folder, { recursive: true }));

interface Row {
  readonly prompt: string;
  readonly completion: string;
}

interface Chat {
  readonly messages: readonly {
    readonly content: string | null;
    readonly tool_calls?: readonly { readonly function: { readonly name: string; readonly arguments: string } }[];
  }[];
}

function generate<T = Row>(task: string, name: string, ...options: readonly string[]): Record<string, T[]> {
  const out = join(folder, name);
  execFileSync(process.execPath, ["tools/scripts/generate-data.mjs", task, out, ...options]);
  const read = (split: string): T[] =>
    readFileSync(join(out, `${split}.jsonl`), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
  return { train: read("train"), valid: read("valid"), test: read("test") };
}

const settingsOf = (name: string) =>
  resolveSettings(trainOptions, {
    flags: {},
    environment: {},
    file: readConfigFile(join("tools/recipes", name)),
    filePath: name,
  });

for (const [task, effort] of [
  ["commands", {}],
  ["dates", onlyWhenLong],
] as const) {
  test(
    `${task}: 500 test rows, none of whose answers was trained on; every value of an answer occurs in its sentence`,
    effort,
    async () => {
      const { train = [], valid = [], test: held = [] } = generate(task, task, "--train", "20000", "--valid", "300");
      assert.ok(held.length >= 500 && train.length === 20_000);
      const prompts = [...train, ...valid, ...held].map(({ prompt }) => prompt);
      assert.equal(new Set(prompts).size, prompts.length);
      const trained = new Set([...train, ...valid].map(({ completion }) => completion));
      for (const { prompt, completion } of held) {
        assert.ok(!trained.has(completion), completion);
        const { call: _, month: __, ...values }: Record<string, unknown> = JSON.parse(completion);
        for (const value of Object.values(values)) assert.ok(prompt.includes(String(value)), `${value} in ${prompt}`);
      }
      assert.notDeepEqual(generate(task, `${task}-other`, "--seed", "2", "--train", "10").test, held);
      assert.equal(await digestOf(join(folder, task)), settingsOf(`${task}.yaml`).dataDigest, "the recipe's digest");
    },
  );
}

test(
  "butler: no call of the 500 test chats was trained on, its values occur in the request, and a chat without functions has none",
  onlyWhenLong,
  async () => {
    const {
      train = [],
      valid = [],
      test: held = [],
    } = generate<Chat>("butler", "butler", "--train", "6000", "--valid", "100");
    assert.deepEqual([train.length, valid.length, held.length], [6000, 100, 500]);
    const callOf = ({ messages }: Chat) => messages[1]?.tool_calls?.[0]?.function;
    const spelled = (chat: Chat): string[] =>
      [callOf(chat)].flatMap((call) => (call ? [call.name + call.arguments] : []));
    const trained = new Set([...train, ...valid].flatMap(spelled));
    for (const chat of held) {
      const call = callOf(chat);
      assert.equal(call === undefined, !("tools" in chat));
      if (call === undefined) continue;
      assert.ok(!trained.has(call.name + call.arguments), call.arguments);
      const request = chat.messages[0]?.content ?? "";
      for (const value of Object.values(JSON.parse(call.arguments)))
        assert.ok(request.includes(String(value)), `${value} in ${request}`);
    }
    assert.equal(await digestOf(join(folder, "butler")), settingsOf("butler.yaml").dataDigest, "the recipe's digest");
  },
);

async function digestOf(path: string): Promise<string> {
  const tokenizer = await loadTokenizer("models/bookworm-7m", {});
  assert.ok(tokenizer);
  const labelTemplate = parseLabelTemplate("{text}\nlabel: {label}");
  const rows = {
    wants: "rows",
    vocabSize: tokenizer.vocabSize,
    maxLength: 96,
    seed: 0,
    validationSplit: 0,
    maxEvalSamples: 1,
  } as const;
  try {
    return (await loadData({ path, tokenizer, endId: 0, bosId: null, labelTemplate, ...rows })).digest;
  } finally {
    await tokenizer.close();
  }
}

test("every shipped adapter has a recipe of options that exist, with the digest of its data", () => {
  const shipped = readdirSync("adapters", { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() && !entry.name.startsWith(".") ? [`${entry.name}.yaml`] : [],
  );
  const recipes = readdirSync("tools/recipes").filter((name) => name.endsWith(".yaml"));
  assert.deepEqual(shipped.sort(), recipes.sort());
  for (const name of recipes) {
    const settings = settingsOf(name);
    assert.match(settings.dataDigest ?? "", /^sha256:/);
    assert.equal(settings.outputDir, `tools/recipes/out/${name.replace(".yaml", "")}`);
  }
});

test("the card of everything shipped is what its recipe writes, with a test, an origin and the command that trained it", async () => {
  const check = async (shipped: Shipped, tests: Record<string, TestRecord> = {}): Promise<TestRecord> => {
    const folder = shipped.outputDir;
    const record = await readRunRecord(folder);
    const { examples } = await readCard(folder);
    const found = examples.flatMap(({ title, picture }) =>
      title === null || picture === null ? [] : [{ title, picture: "example.png" }],
    );
    assert.equal(readFileSync(join(folder, "README.md"), "utf8"), renderCard(shipped, record, found, tests), folder);
    const { rows: samples = [], ...origin } = record.origin ?? {};
    assert.deepEqual(origin, shipped.origin, folder);
    assert.equal(samples.length > 0, shipped.origin.withheld === undefined, folder);
    assert.equal(record.command, trainCommand(shipped, record), folder);
    assert.ok(record.test && record.test.rows >= 100, folder);
    return record.test;
  };
  for (const shipped of Object.values(languageAdapters)) await check(shipped);
  const folders = Object.values(languageAdapters).map(({ outputDir }) => outputDir);
  for (const { base, adapters } of Object.values(shippedBases)) {
    const tests: Record<string, TestRecord> = {};
    for (const adapter of Object.values(adapters)) tests[basename(adapter.outputDir)] = await check(adapter);
    await check(base, tests);
    folders.push(...Object.values(adapters).map(({ outputDir }) => outputDir));
  }
  assert.deepEqual(folders.sort(), shippedFolders().sort());
});

test("the command that trains a run again states a limit of time exactly, in its largest unit", () => {
  const limitOf = (maxTimeMs: number): string | undefined => {
    const folders = { model: "base", data: "rows.jsonl", outputDir: "out", initFrom: null };
    const settings = { ...trainDefaults, learningRate: 1e-4, maxTimeMs };
    return /--max-time (\S+)/.exec(trainCommand(folders, { settings, data: { digest: "sha256:0" } }))?.[1];
  };
  assert.deepEqual([86_400_000, 5_400_000, 90_000, 1500].map(limitOf), ["1d", "90m", "90s", "1500ms"]);
});

/** Of all adapters. */
const shippedFolders = (): string[] =>
  ["adapters", ...readdirSync("models").map((base) => `models/${base}/adapters`)]
    .filter(existsSync)
    .flatMap((parent) =>
      readdirSync(parent, { withFileTypes: true }).flatMap((entry) =>
        entry.isDirectory() && !entry.name.startsWith(".") ? [join(parent, entry.name)] : [],
      ),
    );
