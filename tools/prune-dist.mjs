// Removes from dist/ what an earlier build left of deleted sources: the test runner would find and run it. The compiler trusts its
// record of what it wrote, so where a compiled file is missing the record goes too.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const rooms = ["src", "test", "tools", "web/client"];

function filesBelow(folder, end) {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names.filter((name) => name.endsWith(end)).map((name) => join(folder, name));
}

const sources = rooms.flatMap((room) => filesBelow(room, ".ts")).filter((name) => !name.endsWith(".d.ts"));
const wanted = new Set(sources.map((name) => join("dist", name.replace(/\.ts$/, ".js"))));
const found = new Set(rooms.flatMap((room) => filesBelow(join("dist", room), ".js")));
for (const name of found) {
  if (wanted.has(name)) continue;
  rmSync(name);
  rmSync(`${name}.map`, { force: true });
}
if ([...wanted].some((name) => !found.has(name))) rmSync("dist/.tsbuildinfo", { force: true });
