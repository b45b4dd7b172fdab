/** The prompt of every row is what a listening server hands to its engine, and counts, for the same request. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadData } from "../../src/train/data/dataset.js";
import { parseLabelTemplate, type TokenRow } from "../../src/train/data/encode.js";
import { openServerRig } from "../support/rig.js";
import { families, load } from "../text/families.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-prompts-"));
after(() => rmSync(folder, { recursive: true }));

const user = (content: string) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });

interface Case {
  readonly row: object;
  /** The same as a request: a completion's prompt, or a chat's messages. */
  readonly prompt?: string;
  readonly messages?: readonly object[];
}

const completions: readonly Case[] = [
  { row: { prompt: "Once upon", completion: " a time" }, prompt: "Once upon" },
  { row: { prompt: "", completion: "alone" }, prompt: "" },
  { row: { prompt: "naïve  café\n\t", completion: "= 7" }, prompt: "naïve  café\n\t" },
  { row: { text: "a fine film ", label: "good" }, prompt: "a fine film \nlabel:" },
];

const chats: readonly Case[] = [
  { row: { messages: [user("Hi there"), assistant("Ho.")] }, messages: [user("Hi there")] },
  {
    row: { messages: [user("one"), assistant("two"), user(" three\n"), assistant("four")] },
    messages: [user("one")],
  },
  {
    row: { messages: [user("one"), { ...assistant("two"), weight: 0 }, user(" three\n"), assistant("four")] },
    messages: [user("one"), assistant("two"), user(" three\n")],
  },
  { row: { instruction: "Say it", input: "twice", output: "it it" }, messages: [user("Say it\n\ntwice")] },
];

const pairs: readonly Case[] = [
  { row: { prompt: "2 + 2 =", chosen: " 4", rejected: " 5" }, prompt: "2 + 2 =" },
  {
    row: {
      input: { messages: [user("2 + 2?")] },
      preferred_output: [assistant("4")],
      non_preferred_output: [assistant("5")],
    },
    messages: [user("2 + 2?")],
  },
];

for (const family of families) {
  test(`${family}: the server computes the ids of each row's prompt`, async () => {
    await using tokenizer = Object.assign(await load(family), {
      async [Symbol.asyncDispose]() {
        await tokenizer.close();
      },
    });
    const bosId = 5; // the model's, whatever the tokenizer calls by that name
    const model = { vocabSize: 1e6, bosId, stopIds: [] };
    await using rig = await openServerRig({ tokenizer, model, script: { limits: { maxContext: 1024 } } });
    // phi3's fixture writes all messages once more behind the last one: no answer follows its prompt, which is refused.
    const isAble = ({ messages, row }: Case): boolean =>
      (!messages && !("instruction" in row)) || (tokenizer.chatTemplate !== null && family !== "phi3");
    const check = async (cases: readonly Case[], wants: "rows" | "pairs"): Promise<void> => {
      const able = cases.filter(isAble);
      const path = join(folder, `${family}-${wants}.jsonl`);
      writeFileSync(path, able.map(({ row }) => `${JSON.stringify(row)}\n`).join(""));
      const { train } = await loadData({
        ...{ path, tokenizer, endId: tokenizer.eosTokenId, bosId, vocabSize: model.vocabSize, maxLength: 1024, wants },
        ...{
          labelTemplate: parseLabelTemplate("{text}\nlabel: {label}"),
          seed: 1,
          validationSplit: 0,
          maxEvalSamples: 0,
        },
      });
      for (const [i, { prompt, messages }] of able.entries()) {
        const of = train.filter(([row]) => row.place.line === i + 1).flatMap((item): TokenRow[] => [...item]);
        const body = { model: "base", max_tokens: 1, ...(messages ? { messages } : { prompt }) };
        const response = await fetch(`${rig.url}/v1/${messages ? "chat/" : ""}completions`, {
          ...{ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) },
        });
        assert.equal(response.status, 200, await response.clone().text());
        const { usage } = (await response.json()) as { usage: { prompt_tokens: number } };
        const submitted = rig.engine.sequences.at(-1)?.request.promptIds;
        const [row] = of;
        assert.ok(row, `line ${i + 1} has a row`);
        for (const { ids, promptLength } of of.slice(0, wants === "pairs" ? 2 : 1)) {
          assert.deepEqual([...ids.subarray(0, promptLength)], submitted, JSON.stringify(body));
          assert.equal(promptLength, usage.prompt_tokens);
        }
      }
    };
    await check([...completions, ...chats], "rows");
    await check(pairs, "pairs");
  });
}
