/**
 * Reads the import lines of src/ and holds what ARCHITECTURE.md says: the order of the rooms, one room for each dependency, no cycles,
 * and who knows nothing of whom.
 */

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { test } from "node:test";
import { families } from "../src/model/families/registry.js";

/** What each room may import, besides itself. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  base: [],
  grammar: ["base"],
  records: ["base"],
  jobs: ["base"],
  tensor: ["base"],
  hub: ["base"],
  onnx: ["base", "tensor"],
  graph: ["base", "tensor", "onnx"],
  autodiff: ["base", "graph"],
  runtime: ["base", "tensor", "onnx", "graph"],
  model: ["base", "tensor", "onnx", "graph"],
  weights: ["base", "tensor", "onnx", "graph", "model", "runtime"],
  adapter: ["base", "tensor", "onnx", "graph", "model"],
  text: ["base", "grammar"],
  image: ["base"],
  engine: ["base", "grammar", "tensor", "onnx", "graph", "model", "weights", "adapter", "runtime"],
  train: [
    ...["base", "tensor", "onnx", "graph", "autodiff", "model", "weights", "adapter", "runtime"],
    ...["engine", "text", "image"],
  ],
  gateway: ["base", "grammar", "records", "jobs", "tensor", "adapter", "engine", "text", "image"],
  server: ["base", "records", "jobs", "engine", "text", "gateway"],
  bench: [
    ...["base", "grammar", "tensor", "onnx", "graph", "model", "weights", "adapter", "runtime"],
    ...["engine", "text", "train", "gateway", "server"],
  ],
  cli: [
    ...["base", "tensor", "onnx", "graph", "autodiff", "model", "weights", "adapter", "runtime"],
    ...["records", "jobs", "engine", "text", "image", "train", "gateway", "server", "bench", "hub"],
  ],
};

/** The one place that knows a package. A package of dependencies that is not listed here is a fault too. */
const importers: Readonly<Record<string, RegExp>> = {
  "onnxruntime-node": /^runtime\//,
  koffi: /^runtime\//,
  "classic-level": /^records\//,
  express: /^server\//,
  ws: /^server\//,
  "prom-client": /^server\//,
  "@fastify/busboy": /^adapter\//,
  "tar-stream": /^adapter\//,
  "lru-cache": /^adapter\/cache\//,
  re2js: /^adapter\//,
  "@bufbuild/protobuf": /^onnx\//,
  "@huggingface/tokenizers": /^text\//,
  "@jsquash/jpeg": /^image\/codecs/,
  "@jsquash/webp": /^image\/codecs/,
  valibot: /^(server|gateway|train|weights|adapter)\//,
  commander: /^cli\//,
  hyparquet: /^train\/data\/parquet/,
  "hyparquet-compressors": /^train\/data\/parquet/,
  yaml: /^(cli\/options\/config-file|adapter\/front-matter)/,
  pino: /^cli\//,
};

interface Import {
  readonly from: string;
  /** A file of src/, or the name of a package, or a module of Node. */
  readonly to: string;
  readonly local: boolean;
}

const imports = readImports("src");
const files = sources("src");

function sources(root: string, pattern = /\.ts$/): string[] {
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => pattern.test(path));
}

function readImports(root: string, pattern?: RegExp): Import[] {
  return sources(root, pattern).flatMap((from) =>
    importsOf(readFileSync(join(root, from), "utf8")).map((target) => resolveImport(from, target)),
  );
}

/** Targets of static, re-exporting, side-effect and dynamic imports, and of `require`. */
function importsOf(source: string): string[] {
  const withoutComments = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const form = /(?<![.\w])(?:from\s+|import\s*\(?\s*|require\s*\(\s*)["']([^"'\n]+)["']/g;
  return [...withoutComments.matchAll(form)].flatMap((match) => match[1] ?? []);
}

function resolveImport(from: string, target: string): Import {
  const local = target.startsWith(".");
  if (local) return { from, to: posix.join(posix.dirname(from), target).replace(/\.js$/, ".ts"), local };
  return { from, to: /^(@[^/]+\/)?[^/]+/.exec(target)?.[0] ?? target, local };
}

/** Of the page, whose packages are bundled into it. Without the programs that the page writes for its readers. */
const pageImports = readImports("web", /\.tsx?$/).filter(({ from, local }) => local || from !== "compare/copy-as.ts");
const pagePackages: ReadonlySet<string> = new Set(["preact", "@preact/signals"]);

const roomOf = (path: string): string => path.split("/")[0] ?? "";

test("every folder of src is a room that this test knows", () => {
  const unknown = [...new Set(files.map(roomOf))].filter((room) => !(room in rooms));
  assert.deepEqual(unknown, []);
});

test("a room imports only the rooms below it", () => {
  const faults = imports
    .filter(({ from, to, local }) => local && roomOf(from) !== roomOf(to))
    .filter(({ from, to }) => !rooms[roomOf(from)]?.includes(roomOf(to)))
    .map(({ from, to }) => `${from} imports ${to}`);
  assert.deepEqual(faults, []);
});

test("the use cases of the gateway know no protocol", () => {
  const faults = imports
    .filter(({ from, to }) => roomOf(from) === "gateway" && protocolOf(from) === null && protocolOf(to) !== null)
    .map(({ from, to }) => `${from} imports ${to}`);
  assert.deepEqual(faults, []);
  assert.ok(files.some((file) => protocolOf(file) === "openai"));
});

/** The protocol that a file belongs to: every folder of the gateway is one, but for what reads the bodies of all, and the use cases of task models. */
function protocolOf(path: string): string | null {
  const folder = /^gateway\/([^/]+)\//.exec(path)?.[1] ?? null;
  return folder === "body" || folder === "tasks" ? null : folder;
}

/** Files of src/ that import, from anywhere, a file that `isFar` names. */
const importersOf = (isFar: (path: string) => boolean): string[] => [
  ...new Set(imports.filter(({ to, local }) => local && isFar(to)).map(({ from }) => from)),
];

const isIn = (folder: string) => (path: string) => path.startsWith(`${folder}/`);

test("the decoder knows neither lowering, and serving does not know training", () => {
  const lowerings = importersOf((path) => /^model\/(serving|training)\//.test(path));
  assert.ok(lowerings.length > 0);
  assert.ok(!lowerings.includes("model/decoder.ts"));
  assert.deepEqual(importersOf(isIn("model/training")).filter(isIn("model/serving")), []);
});

test("the scheduler plans in integers: it imports nothing", () => {
  assert.ok(files.includes("engine/scheduler.ts"));
  assert.deepEqual(
    imports.filter(({ from }) => from === "engine/scheduler.ts"),
    [],
  );
});

test("no file outside of model/families has a family's name, but the configs that benchmarks invent", () => {
  const named = new RegExp(`["'\`](${families.map(({ name }) => name).join("|")})["'\`]`);
  // A chat format may be called as a family is.
  const others = files.filter((file) => roomOf(file) !== "text");
  const found = others.filter((file) => named.test(readFileSync(join("src", file), "utf8")));
  assert.ok(found.includes("model/families/llama.ts"));
  assert.deepEqual(
    found.filter((file) => !isIn("model/families")(file)),
    ["model/shapes.ts"],
  );
});

test("every family that is defined is in the registry", () => {
  const defined = files
    .filter(isIn("model/families"))
    .flatMap((file) => [...readFileSync(join("src", file), "utf8").matchAll(/^export const \w+: Family = \{/gm)]);
  assert.equal(defined.length, families.length);
  assert.equal(new Set(families.map(({ name }) => name)).size, families.length);
});

test("keys of requests are read in server/access alone", () => {
  const reads = /headers\.authorization|headers\["(?:authorization|x-api-key)"\]/;
  const readers = files
    .filter((file) => ["server", "gateway"].includes(roomOf(file)))
    .filter((file) => reads.test(readFileSync(join("src", file), "utf8")));
  assert.ok(readers.length > 0);
  assert.deepEqual(
    readers.filter((file) => !isIn("server/access")(file)),
    [],
  );
});

test("ARCHITECTURE.md has a row for every room, and each path that it names is there", () => {
  const page = readFileSync("ARCHITECTURE.md", "utf8");
  const table = page.slice(page.indexOf("| room | owns |"), page.indexOf("`test/architecture.test.ts`"));
  const rows = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, room]) => room);
  assert.deepEqual(rows.toSorted(), Object.keys(rooms).toSorted());
  const paths = [...page.matchAll(/`([a-z.][\w.-]*\/[\w./-]*)`/g)].flatMap(([, path]) => path ?? []);
  assert.ok(paths.length > 20);
  const missing = paths.filter((path) => {
    const places = [path, join("src", path), join("src/model", path)];
    return !places.some((place) => existsSync(place) || existsSync(`${place}.ts`));
  });
  assert.deepEqual(missing, []);
});

test("the page imports its own files and its packages alone, and its client not even those", () => {
  const packages = pageImports.filter(({ local }) => !local).map(({ to }) => to);
  assert.deepEqual(new Set(packages), pagePackages);
  const outside = pageImports.filter(({ to, local }) => local && to.startsWith(".."));
  assert.deepEqual(outside, []);
  const faults = pageImports
    .filter(({ from, to, local }) => isIn("client")(from) && !(local && isIn("client")(to)))
    .map(({ from, to }) => `${from} imports ${to}`);
  assert.deepEqual(faults, []);
  const fromSource = imports.filter(({ to }) => to.includes("web/"));
  assert.deepEqual(fromSource, []);
});

test("the page makes no markup from strings, and sends requests through its client alone", () => {
  const using = (pattern: RegExp): string[] =>
    sources("web", /\.tsx?$/).filter((file) => pattern.test(readFileSync(join("web", file), "utf8")));
  assert.deepEqual(using(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b/), []);
  assert.deepEqual(using(/\bfetch\(|new XMLHttpRequest|new EventSource/), ["send-upload.ts", "client/client.ts"]);
});

test("the order of the rooms itself has no cycle", () => {
  assert.equal(findCycle(new Map(Object.entries(rooms))), null);
});

test("each package is imported in one place", () => {
  const faults = imports
    .filter(({ to, local }) => !local && !to.startsWith("node:"))
    .filter(({ from, to }) => !importers[to]?.test(from))
    .map(({ from, to }) => `${from} imports ${to}`);
  assert.deepEqual(faults, []);
});

test("modules of Node are imported by their node: names, and every local import exists", () => {
  const known = new Set(files);
  const missing = imports.filter(({ to, local }) => local && !known.has(to));
  assert.deepEqual(missing, []);
});

test("files import one another without a cycle", () => {
  const graph = new Map<string, string[]>(files.map((file) => [file, []]));
  for (const { from, to, local } of imports) if (local) graph.get(from)?.push(to);
  assert.equal(findCycle(graph)?.join(" → ") ?? null, null);
});

test("the reader of imports sees every form, and the finder of cycles finds one", () => {
  const source = `import a from "a";\nimport type { B } from './b.js';\nexport * from "c";\nimport "d";\nawait import("e");
// import x from "no";\n/* from "never" */ const f = require("f"); Array.from("g");`;
  assert.deepEqual(importsOf(source), ["a", "./b.js", "c", "d", "e", "f"]);
  assert.equal(resolveImport("engine/x.ts", "../base/log.js").to, "base/log.ts");
  assert.equal(resolveImport("text/x.ts", "@huggingface/tokenizers/deep").to, "@huggingface/tokenizers");
  assert.deepEqual(
    findCycle(
      new Map([
        ["a", ["b"]],
        ["b", ["c"]],
        ["c", ["b"]],
      ]),
    ),
    ["b", "c", "b"],
  );
});

/** The first cycle of a depth-first walk, as the path that closes it; null when there is none. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | null {
  const finished = new Set<string>();
  const path: string[] = [];
  const visit = (node: string): string[] | null => {
    const at = path.indexOf(node);
    if (at >= 0) return [...path.slice(at), node];
    if (finished.has(node)) return null;
    path.push(node);
    for (const next of graph.get(node) ?? []) {
      const cycle = visit(next);
      if (cycle) return cycle;
    }
    path.pop();
    finished.add(node);
    return null;
  };
  for (const node of graph.keys()) {
    const cycle = visit(node);
    if (cycle) return cycle;
  }
  return null;
}
