/** The server's own address: a page for people that loads nothing else, and links for programs. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { openServerRig } from "../support/rig.js";

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";

test("a browser gets a self-contained page, a program gets JSON, and every link in both works", async () => {
  await using rig = await openServerRig();
  const page = await fetch(rig.url, { headers: { accept: browser } });
  assert.equal(page.status, 200);
  assert.equal(page.headers.get("content-type"), "text/html; charset=utf-8");
  assert.match(page.headers.get("vary") ?? "", /Accept/);
  assert.equal(page.headers.get("x-content-type-options"), "nosniff");
  const html = await page.text();
  const style = /<style>([^<]*)<\/style>/.exec(html)?.[1] ?? "";
  const digest = createHash("sha256").update(style).digest("base64");
  const policy = page.headers.get("content-security-policy") ?? "";
  assert.ok(policy.startsWith(`default-src 'none'; style-src 'sha256-${digest}'; `), policy);
  assert.doesNotMatch(policy, /unsafe/);
  assert.doesNotMatch(html, /<(script|img|link|iframe|form)|src=|@import|url\(|style=|https?:\/\/(?!127\.0\.0\.1:)/);
  assert.ok(html.includes(`<pre>curl -sS ${rig.url}/v1/completions `) && html.includes(`<code>${rig.url}/v1</code>`));
  for (const [, path] of html.matchAll(/href="([^"]+)"/g))
    assert.equal((await fetch(rig.url + path)).status, 200, path);

  for (const headers of [{}, { accept: "*/*" }, { accept: "application/json" }]) {
    const answer = await fetch(rig.url, { headers });
    assert.match(answer.headers.get("content-type") ?? "", /^application\/json/);
    const { name, links }: { name: string; links: Record<string, string> } = JSON.parse(await answer.text());
    assert.equal(name, "lorikeet");
    for (const path of Object.values(links)) assert.equal((await fetch(rig.url + path)).status, 200, path);
  }
  assert.equal((await fetch(rig.url, { method: "DELETE" })).status, 405);
});

test("a browser without a key gets a page that says the server needs one", async () => {
  await using rig = await openServerRig({ apiKeys: ["sk-1234567890"] });
  const page = await fetch(rig.url, { headers: { accept: browser } });
  assert.equal(page.status, 401);
  assert.match(page.headers.get("www-authenticate") ?? "", /^Bearer /);
  assert.match(page.headers.get("content-type") ?? "", /^text\/html/);
  assert.match(await page.text(), /needs an API key; send it as `Authorization: Bearer &#60;key&#62;`/);
  assert.match(await (await fetch(`${rig.url}/v1/models`, { headers: { accept: browser } })).text(), /^\{"error"/);
});
