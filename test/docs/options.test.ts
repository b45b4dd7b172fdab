/** The docs that list a table of the source list all of it. `LORIKEET_UPDATE_DOCS=1` rewrites those of options. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { errorTable } from "../../src/base/errors.js";
import { environmentName, flagName } from "../../src/cli/options/names.js";
import type { OptionTable } from "../../src/cli/options/option.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { trainOptions } from "../../src/cli/train/options.js";
import { defaultRate } from "../../src/train/optimizer/default-rate.js";

test("docs/errors.md lists every code with its status, type and waiting time, and no other", () => {
  const rows = readFileSync("docs/errors.md", "utf8").match(/^\| `.*$/gm) ?? [];
  const listed = rows.map((row) =>
    row
      .split("|")
      .slice(1, 5)
      .map((cell) => cell.trim().replaceAll("`", "")),
  );
  const expected = Object.entries(errorTable).map(([code, kind]) => {
    const retry = "retryAfterSeconds" in kind ? `${kind.retryAfterSeconds} s` : "";
    return [code, String(kind.status), kind.type, retry];
  });
  const byCode = (a: readonly string[], b: readonly string[]): number => (a[0] ?? "").localeCompare(b[0] ?? "");
  assert.deepEqual(listed.sort(byCode), expected.sort(byCode));
});

for (const [file, document] of [
  ["docs/options.md", serveDocument],
  ["docs/train-options.md", trainDocument],
] as const) {
  test(`${file} is what the table of options says`, () => {
    const expected = document();
    if (process.env.LORIKEET_UPDATE_DOCS === "1") writeFileSync(file, expected);
    assert.equal(readFileSync(file, "utf8"), expected, "run the test with LORIKEET_UPDATE_DOCS=1");
  });
}

/** A section for each group, with a row for each option. */
function sectionsOf(table: OptionTable): string {
  const groups = new Map<string, string[]>();
  for (const [name, option] of Object.entries(table)) {
    const value = option.placeholder === undefined ? "" : ` <${option.placeholder}>`;
    const row = `| \`--${flagName(name)}${value}\` | ${option.shown} | ${option.help} |`;
    groups.set(option.group, [...(groups.get(option.group) ?? []), row]);
  }
  return [...groups]
    .map(
      ([group, rows]) =>
        `## ${group}\n\n| option | default | what it does |\n| --- | --- | --- |\n${rows.join("\n")}\n`,
    )
    .join("\n");
}

function trainDocument(): string {
  return `# Options of \`lorikeet train\`

Each is a flag, an environment variable or a key of the file that \`--config\` names, as [options.md](options.md) explains; a YAML recipe
reads \`lora-r: 8\`, \`target-modules: [q_proj, v_proj]\`. \`--resume\` uses the options of the run that it continues.

${sectionsOf(trainOptions)}
## The default learning rate

The peak learning rate falls with the model's hidden size, as "LoRA Without Regret" (Schulman et al., Thinking Machines Lab, 2025) found
for alpha 32: 10 x 5e-5 x (2000 / hidden size)^0.781, for Qwen's families ^0.0775. Full fine-tuning uses a tenth of it, and DPO
${defaultRate("dpo", { hiddenSize: 1, family: "llama" })}. The header of a run shows where its learning rate comes from.

| model | hidden size | adapters | \`--method full\` |
| --- | --- | --- | --- |
${ratesOf().join("\n")}
`;
}

/** From the smallest model to the largest. */
function ratesOf(): string[] {
  const models = [
    ["bookworm-7m", 256, "llama"],
    ["SmolLM2 135M", 576, "llama"],
    ["SmolLM2 360M", 960, "llama"],
    ["Qwen2.5 0.5B", 896, "qwen2"],
    ["Llama 3.2 1B", 2048, "llama"],
    ["Llama 2 7B", 4096, "llama"],
    ["Qwen2.5 7B", 3584, "qwen2"],
  ] as const;
  return models.map(([name, hiddenSize, family]) => {
    const rates = (["sft", "full"] as const).map((method) => defaultRate(method, { hiddenSize, family }));
    return `| ${name} | ${hiddenSize} | ${rates.join(" | ")} |`;
  });
}

function serveDocument(): string {
  return `# Options of \`lorikeet serve\`

An option is a flag (\`--max-batch 8\`), an environment variable (\`${environmentName("maxBatch")}=8\`) or a key of the YAML or JSON file that
\`--config\` (or \`LORIKEET_CONFIG\`) names (\`max-batch: 8\`). Flags override environment variables, which override the file. Commands
may share a file: each reads the keys it knows, and its own section (\`train:\` with options below it) overrides them. A key that no
command knows is an error. Sizes are bytes, or have a unit that counts in 1024s (\`512M\`, \`2GiB\`); times are seconds, or have a unit
(\`500ms\`, \`30s\`, \`5m\`). For a bad value or an impossible combination, the command prints one line to stderr and exits with 2.

How a model's name is looked up, and the variables of the Hugging Face hub: [operations.md](operations.md#models-by-name).

${sectionsOf(serveOptions)}`;
}
