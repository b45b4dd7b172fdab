/** The files of the page as the build wrote them, each also compressed. Read once: together they are a few hundred kilobytes. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const encodings = ["br", "gzip", "identity"] as const;
export type Encoding = (typeof encodings)[number];

export interface PageFile {
  readonly contentType: string;
  readonly bodies: Readonly<Record<Encoding, Buffer>>;
}

export interface PageFiles {
  readonly index: PageFile;
  /** By name, which has a digest of the content in it. */
  readonly assets: ReadonlyMap<string, PageFile>;
}

const contentTypes: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

/** Where the build puts them. */
const builtPage = fileURLToPath(new URL("../../../page/", import.meta.url));

/** null if the page was not built. */
export function readPageFiles(folder = builtPage): PageFiles | null {
  if (!existsSync(join(folder, "index.html"))) return null;
  const assets = join(folder, "assets");
  const names = readdirSync(assets).filter((name) => contentTypeOf(name) !== null);
  return {
    index: readFile(folder, "index.html"),
    assets: new Map(names.map((name) => [name, readFile(assets, name)])),
  };
}

function readFile(folder: string, name: string): PageFile {
  const path = join(folder, name);
  return {
    contentType: contentTypeOf(name) ?? "application/octet-stream",
    bodies: { identity: readFileSync(path), br: readFileSync(`${path}.br`), gzip: readFileSync(`${path}.gz`) },
  };
}

const contentTypeOf = (name: string): string | null => contentTypes[/\.(\w+)$/.exec(name)?.[1] ?? ""] ?? null;
