// Tells whether dist/ holds what the sources say, so that `npm start` builds only where it does not. A build calls `begin` and `end`;
// `check` exits with 1 unless nothing has changed since, neither a source nor what was built of it.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const sources = ["src", "web", "tools/build-page.mjs", "package.json", "package-lock.json", "tsconfig.json"];
const outputs = ["dist/src", "dist/page"];
const stamp = join("dist", ".built");

function filesOf(path) {
  if (!existsSync(path)) return [];
  if (statSync(path).isFile()) return [path];
  return readdirSync(path, { withFileTypes: true }).flatMap(({ name }) => filesOf(join(path, name)));
}

/** Of names and contents. Times say nothing after a checkout or a copy. */
function digestOf(paths) {
  const hash = createHash("sha256");
  for (const path of paths.flatMap(filesOf).sort()) {
    const content = readFileSync(path);
    hash.update(`${path}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}

const read = () => (existsSync(stamp) ? readFileSync(stamp, "utf8") : "");
/** Without outputs: a build that is not finished. */
const begun = () => `${digestOf(sources)}\n`;
const whole = () => `${begun()}${digestOf(outputs)}\n`;

const task = process.argv[2];
if (task === "begin") {
  mkdirSync("dist", { recursive: true });
  writeFileSync(stamp, begun());
  // A source that was changed during the build may not be in it.
} else if (task === "end") writeFileSync(stamp, read() === begun() ? whole() : "");
else if (task === "check") process.exitCode = read() === whole() ? 0 : 1;
else throw new Error(`begin, end or check; not ${task}`);
