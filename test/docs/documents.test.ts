/** The documents' families, links and commands are those of the source. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import type { Command } from "commander";
import { families } from "../../src/model/families/registry.js";
import { silentProgram } from "../support/program.js";

const documents = ["", "docs", "docs/tasks", "models", "adapters"].flatMap((folder) =>
  readdirSync(folder === "" ? "." : folder)
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(folder, name)),
);

test("the README has every family's model_type, and no other", () => {
  const rows = readFileSync("README.md", "utf8").split("| Family | `model_type` |")[1]?.split("\n\n")[0] ?? "";
  const types = [...rows.matchAll(/^\|[^|]*\|([^|]*)\|/gm)].flatMap(([, cell = ""]) =>
    [...cell.matchAll(/`(\w+)`/g)].map(([, type]) => type),
  );
  assert.deepEqual(types.sort(), families.map(({ name }) => name).sort());
});

/** A document's headings as GitHub names them in links. */
const anchorsOf = (file: string): string[] =>
  (readFileSync(file, "utf8").match(/^#+ .*$/gm) ?? []).map((heading) =>
    heading
      .replace(/^#+ /, "")
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, "")
      .replaceAll(" ", "-"),
  );

test("links of the documents lead to a file and its heading", () => {
  const broken = documents.flatMap((file) =>
    [...readFileSync(file, "utf8").matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = ""]) => {
      if (/^https?:/.test(link)) return [];
      const [path = "", heading] = link.split("#");
      const target = path === "" ? file : join(dirname(file), path);
      const leads = existsSync(target) && (heading === undefined || anchorsOf(target).includes(heading));
      return leads ? [] : [`${file}: ${link}`];
    }),
  );
  assert.deepEqual(broken, []);
});

test("commands of the documents have options that exist", async () => {
  const program = await silentProgram();
  const unknown = documents.flatMap((file) => {
    const text = readFileSync(file, "utf8").replaceAll("\\\n", " ");
    return [...text.matchAll(/^(?:npx )?lorikeet (.*)$/gm)].flatMap(([line, rest = ""]) => {
      const words = rest.split(/\s+/);
      let command: Command = program;
      for (const word of words) command = command.commands.find((next) => next.name() === word) ?? command;
      const flags = command.options.flatMap(({ long }) => long ?? []);
      const strange = words.filter((word) => /^--[a-z]/.test(word) && word !== "--help" && !flags.includes(word));
      return strange.length > 0 ? [`${file}: ${line}`] : [];
    });
  });
  assert.deepEqual(unknown, []);
});
