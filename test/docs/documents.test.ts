/** The documents' families, links and commands are those of the source; so is what `npm start` runs. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
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

test("npm start builds unless neither a source nor what was built of it has changed since", () => {
  const cwd = mkdtempSync(join(tmpdir(), "lorikeet-stamp-"));
  try {
    const stamp = (task: string) =>
      spawnSync(process.execPath, [resolve("tools/build-stamp.mjs"), task], { cwd }).status;
    const write = (path: string, text: string): void => {
      mkdirSync(dirname(join(cwd, path)), { recursive: true });
      writeFileSync(join(cwd, path), text);
    };
    const build = (): void => {
      stamp("begin");
      write("dist/src/a.js", "1");
      assert.equal(stamp("check"), 1, "a build that is not finished");
    };
    write("src/a.ts", "1");
    assert.equal(stamp("check"), 1, "nothing is built");
    build();
    stamp("end");
    assert.equal(stamp("check"), 0);
    for (const path of ["src/a.ts", "dist/src/a.js", "web/new.ts"]) {
      write(path, "2");
      assert.equal(stamp("check"), 1, path);
      if (path.includes("new")) rmSync(join(cwd, path));
      else write(path, "1");
      assert.equal(stamp("check"), 0, `${path} as it was`);
    }
    build();
    write("src/a.ts", "2");
    stamp("end");
    assert.equal(stamp("check"), 1, "a source that was changed during the build");
  } finally {
    rmSync(cwd, { recursive: true });
  }
});
