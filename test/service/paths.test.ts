/** Paths of the server's disk stay private: no answer names a folder of the model, the adapters, or the system. */
import assert from "node:assert/strict";
import { cp, mkdir, readdir, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { describeFault } from "../../src/cli/usage.js";
import { hidePaths } from "../../src/server/private-paths.js";
import { formOf } from "../support/client.js";
import { adaptersFolder, bookworm, openService } from "../support/service.js";

test("no error response names a folder of the server", async () => {
  await using folder = await adaptersFolder({
    plays: "adapters/plays",
    dates: "adapters/dates",
    moods: "adapters/sentiment",
  });
  await using root = await adaptersFolder({ good: "adapters/plays", "linked/inner": "adapters/plays" });
  await using private_ = await adaptersFolder({});
  await symlink("/etc/passwd", join(root.path, "linked", "adapter_config.json"));
  await mkdir(join(root.path, "empty"));
  const model = join(private_.path, "model");
  await cp(bookworm, model, { recursive: true });
  const template = join(private_.path, "bad.jinja");
  await writeFile(template, "{% for m in messages %}{{ m.content.nope.nope }}{% endfor %}{{ undefined_fn() }}");
  await using service = await openService({
    ...{ model, servedModelName: "base", adapters: folder.path, loraPathRoot: root.path, chatTemplate: template },
  });
  const told: [string, string][] = [];
  const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const isForm = body instanceof FormData;
    const response = await fetch(service.url + path, {
      method,
      headers: isForm || body === undefined ? headers : { "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: isForm || typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const heads = JSON.stringify([...response.headers]);
    told.push([`${method} ${path} ${response.status}`, heads + (await response.text())]);
    return response.status;
  };
  const load = (lora_path: string, lora_name = "x1", more = {}) =>
    ask("POST", "/v1/load_lora_adapter", { lora_name, lora_path, ...more });
  const complete = (of: string) => ask("POST", "/v1/completions", { model: of, prompt: "x", max_tokens: 1 });
  const messages = [{ role: "user", content: "x" }];

  assert.equal(await ask("PUT", "/v1/adapters/plays", await formOf("adapters/plays")), 409);
  assert.equal(await ask("DELETE", "/v1/adapters/plays"), 409);
  await ask("PATCH", "/v1/adapters/plays", { pinned: 3 });
  assert.ok((await ask("POST", "/v1/chat/completions", { model: "base", messages, max_tokens: 1 })) >= 400);
  for (const path of [
    "../plays",
    "/etc",
    folder.path,
    "a\0b",
    "linked",
    "empty",
    "nowhere",
    "good/adapter_config.json",
  ]) {
    assert.ok((await load(path)) >= 400, path);
  }
  assert.equal(await load("good"), 200);
  assert.ok((await load("good", "plays", { load_inplace: true })) >= 400);
  for (const body of ["{", "[]", "null", '{"model":"base","prompt":[[]]}']) await ask("POST", "/v1/completions", body);
  await ask("GET", "/v1/adapters/%ff");
  await ask("GET", "/nowhere");
  await ask("POST", "/v1/completions", "{}", { "content-type": "application/json; charset=utf-9999" });
  await ask("PUT", "/v1/adapters/y", "not a tar", { "content-type": "application/x-tar" });
  const broken = new FormData();
  broken.set("config", new Blob(['{"peft_type":"LORA","r":1e999}']), "adapter_config.json");
  broken.set("weights", new Blob(["<html>"]), "adapter_model.safetensors");
  await ask("PUT", "/v1/adapters/y", broken);

  // Files that change and go away under the running server.
  await rm(join(folder.path, "dates", "adapter_model.safetensors"));
  await truncate(join(folder.path, "moods", "adapter_model.safetensors"), 5000);
  for (const name of ["dates", "moods"]) {
    await complete(name);
    await ask("GET", `/v1/adapters/${name}/download`).catch(() => {});
  }
  const store = join(folder.path, ".store");
  const [version] = (await readdir(store)).filter((name) => name.startsWith("sha256-"));
  assert.ok(version);
  await truncate(join(store, version, "adapter_model.safetensors"), 5000);
  await complete("x1");
  await rm(join(store, version, "adapter_config.json"));
  await complete("x1");
  await ask("GET", "/v1/adapters/x1/download").catch(() => {});
  await rm(join(store, version), { recursive: true });
  await complete("x1");
  await rm(store, { recursive: true, maxRetries: 10 });
  await ask("PUT", "/v1/adapters/z", await formOf("adapters/plays"));
  for (const path of ["/v1/models", "/v1/adapters", "/v1/adapters/plays", "/metrics"]) await ask("GET", path);

  assert.ok(told.length > 30);
  for (const [what, text] of told) {
    for (const secret of [folder.path, root.path, private_.path, "/tmp/", ".store", process.cwd(), "node_modules"]) {
      assert.ok(!text.includes(secret), `${what} names ${secret}: ${text}`);
    }
    assert.doesNotMatch(text, /\bat [\w.]+ \(|file:\/\//, what);
  }
});

test("paths below a private folder are shortened to file names, and other text stays", () => {
  const folders = ["/srv/models/tiny", "/srv/adapters/", "adapters", "/tmp", "/"];
  for (const [text, shown] of [
    ["The file /srv/models/tiny/config.json is broken.", "The file config.json is broken."],
    ["The model /srv/models/tiny lacks it.", "The model tiny lacks it."],
    ["(/tmp/up-1/a/b.bin), '/srv/adapters/x y/z'", "(b.bin), 'x y/z'"],
    ["adapters/plays/adapter_config.json: line 3", "adapter_config.json: line 3"],
    ["POST /v1/adapters/plays and the adapters folder", "POST /v1/adapters/plays and the adapters folder"],
    ["/srv/models/tiny-2/x and /opt/tmp/x stay", "/srv/models/tiny-2/x and /opt/tmp/x stay"],
    ["/etc/passwd", "/etc/passwd"],
  ] as const) {
    assert.equal(hidePaths(text, folders), shown);
  }
});

test("details for the operator appear on the command line, not in the message", () => {
  const fault = new LorikeetError("store_full", "The disk is full.", { operator: "The adapters folder is /srv/a." });
  assert.equal(describeFault(fault), "The disk is full. The adapters folder is /srv/a.");
  assert.equal(fault.message, "The disk is full.");
});
