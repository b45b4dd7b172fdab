/** The server's own address: the page for browsers, facts and links for programs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { brotliDecompressSync } from "node:zlib";
import { openServerRig } from "../support/rig.js";

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";
const mostBytes = 150 * 1024;

const linksOf = (html: string): string[] => [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path = ""]) => path);

test("a browser gets a page of this server's files alone, which caches keep because their names change with them", async () => {
  await using rig = await openServerRig();
  const page = await fetch(rig.url, { headers: { accept: browser, "accept-encoding": "br" } });
  assert.equal(page.status, 200);
  assert.equal(page.headers.get("content-type"), "text/html; charset=utf-8");
  assert.equal(page.headers.get("content-encoding"), "br");
  assert.equal(page.headers.get("cache-control"), "no-cache");
  assert.match(page.headers.get("vary") ?? "", /Accept.*Accept-Encoding/);
  const policy = page.headers.get("content-security-policy") ?? "";
  for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]) {
    assert.ok(policy.split("; ").includes(part), policy);
  }
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  const html = await page.text();
  assert.doesNotMatch(html, /<style|style=|<script[^>]*>[^<]|https?:\/\//);
  const paths = linksOf(html);
  assert.equal(paths.length, 3);
  let received = Number(page.headers.get("content-length"));
  for (const path of paths) {
    const asset = await fetch(`${rig.url}/${path}`, { headers: { "accept-encoding": "br" } });
    assert.equal(asset.status, 200, path);
    assert.equal(asset.headers.get("content-encoding"), "br");
    assert.equal(asset.headers.get("cache-control"), "public, max-age=31536000, immutable");
    assert.equal(asset.headers.get("x-content-type-options"), "nosniff");
    received += Number(asset.headers.get("content-length"));
  }
  assert.ok(received > 0 && received < mostBytes, `the page is ${received} bytes`);
  assert.equal((await fetch(`${rig.url}/assets/page.js`)).status, 404);
});

test("every encoding of a file holds the same bytes", async () => {
  await using rig = await openServerRig();
  const html = await (await fetch(rig.url, { headers: { accept: browser } })).text();
  const [path = ""] = linksOf(html).filter((each) => each.endsWith(".css"));
  const read = async (encoding: string): Promise<string> => {
    const response = await fetch(`${rig.url}/${path}`, { headers: { "accept-encoding": encoding } });
    assert.equal(response.headers.get("content-encoding"), encoding === "identity" ? null : encoding);
    return response.text();
  };
  const plain = await read("identity");
  assert.equal(await read("gzip"), plain);
  assert.equal(await read("br"), plain);
  assert.throws(() => brotliDecompressSync(Buffer.from(plain)));
});

test("a program gets JSON, and every link in it works", async () => {
  await using rig = await openServerRig();
  const instances = new Set<unknown>();
  for (const headers of [{}, { accept: "*/*" }, { accept: "application/json" }]) {
    const answer = await fetch(rig.url, { headers });
    assert.match(answer.headers.get("content-type") ?? "", /^application\/json/);
    const facts: Record<"name" | "bases" | "instance" | "permissions", unknown> & { links: Record<string, string> } =
      JSON.parse(await answer.text());
    assert.deepEqual(facts.permissions, { adapters: true, fine_tuning: false });
    assert.deepEqual(
      [facts.name, facts.bases],
      ["lorikeet", [{ name: "base", text: true, task: null, tasks: ["text-generation"], trains: [] }]],
    );
    instances.add(facts.instance);
    for (const path of Object.values(facts.links)) assert.equal((await fetch(rig.url + path)).status, 200, path);
  }
  assert.equal(instances.size, 1);
  assert.equal((await fetch(rig.url, { method: "DELETE" })).status, 405);
});

test("the page needs no key, because it asks for one; the facts do", async () => {
  await using rig = await openServerRig({ apiKeys: ["sk-1234567890"] });
  assert.equal((await fetch(rig.url, { headers: { accept: browser } })).status, 200);
  assert.equal((await fetch(rig.url)).status, 401);
  assert.equal((await fetch(rig.url, { headers: { authorization: "Bearer sk-1234567890" } })).status, 200);
});

test("without the page, browsers get what programs get", async () => {
  await using rig = await openServerRig({ server: { noUi: true } });
  const answer = await fetch(rig.url, { headers: { accept: browser } });
  assert.match(answer.headers.get("content-type") ?? "", /^application\/json/);
  assert.equal((await fetch(`${rig.url}/assets/page.js`)).status, 404);
});
