// Bundles web/ into dist/page: index.html, and assets whose names have a digest of their content, each with its compressed forms. The
// licences of the bundled packages are written beside them.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const target = join("dist", "page");
const { outputFiles, metafile } = await build({
  entryPoints: ["web/main.tsx"],
  bundle: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: true,
  legalComments: "none",
  metafile: true,
  outdir: target,
  write: false,
});

function write(path, content) {
  const bytes = Buffer.from(content);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
}

/** Writes an asset and returns its address, relative to the page. */
function writeAsset(name, content) {
  const digest = createHash("sha256").update(content).digest("base64url").slice(0, 12);
  const file = `${basename(name, extname(name))}.${digest}${extname(name)}`;
  write(join(target, "assets", file), content);
  return `assets/${file}`;
}

rmSync(target, { recursive: true, force: true });
const contentOf = (extension) => outputFiles.find(({ path }) => path.endsWith(extension)).contents;
const addresses = {
  ICON: writeAsset("icon.svg", readFileSync("web/icon.svg")),
  SCRIPT: writeAsset("page.js", contentOf(".js")),
  STYLE: writeAsset("page.css", contentOf(".css")),
};
const html = readFileSync("web/index.html", "utf8").replace(/%([A-Z]+)%/g, (_, name) => addresses[name]);
write(join(target, "index.html"), html);

const packages = Object.keys(metafile.inputs).flatMap(
  (path) => /^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? [],
);
const licences = [...new Set(packages)].sort().map((name) => {
  return `${name}\n\n${readFileSync(join("node_modules", name, "LICENSE"), "utf8").trim()}\n`;
});
writeFileSync(join(target, "licenses.txt"), licences.join("\n\n"));
