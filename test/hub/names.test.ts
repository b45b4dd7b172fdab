/** Names of repositories, and the variables for the address of the hub and the folder of its cache. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readHubEnvironment } from "../../src/hub/environment.js";
import { folderName, idOfFolder, parseRepository } from "../../src/hub/repository.js";

test("a repository is org/name, with a revision behind @", () => {
  assert.deepEqual(parseRepository("Qwen/Qwen3-0.6B"), { id: "Qwen/Qwen3-0.6B", revision: "main" });
  assert.deepEqual(parseRepository("a/b.c_d@refs/pr/3"), { id: "a/b.c_d", revision: "refs/pr/3" });
  for (const name of [
    "",
    "gpt2",
    "../x",
    "./x/y",
    "a/..",
    "/a/b",
    "a/b/c",
    "a//b",
    "a/b/",
    "~/x",
    "a/-b",
    "a/b.",
    "a\\b/c",
  ]) {
    assert.equal(parseRepository(name), null, name);
  }
  for (const name of ["a/b--c", "a/b..c", "a/b.git", "a/b c", "a/é", `a/${"x".repeat(97)}`, "C:/x", "a/b\n"]) {
    assert.equal(parseRepository(name), null, name);
  }
});

test("a revision that would leave its folder, or that git does not have, is refused", () => {
  for (const revision of [
    "",
    "..",
    "../../x",
    "a/../b",
    "/a",
    "a/",
    "a//b",
    ".a",
    "a/.b",
    "a\\b",
    "a b",
    "a\0b",
    "a..b",
    "x.lock",
  ]) {
    assert.throws(() => parseRepository(`a/b@${revision}`), { code: "invalid_value" }, JSON.stringify(revision));
  }
  for (const revision of ["v1.0", "main", "feature/x", "0123abc", "a@b"]) {
    assert.equal(parseRepository(`a/b@${revision}`)?.revision, revision);
  }
});

test("a repository's folder in the cache says its name, and only such a folder does", () => {
  assert.equal(folderName({ id: "a/b-c", revision: "main" }), "models--a--b-c");
  assert.equal(idOfFolder("models--a--b-c"), "a/b-c");
  for (const name of ["models--a", "datasets--a--b", "models--..--b", ".locks"])
    assert.equal(idOfFolder(name), null, name);
});

test("the cache's place is found as huggingface_hub finds it", () => {
  const cacheOf = (variables: Record<string, string>) => readHubEnvironment({ HOME: "/home/me", ...variables }).cache;
  assert.equal(cacheOf({}), "/home/me/.cache/huggingface/hub");
  assert.equal(cacheOf({ XDG_CACHE_HOME: "/x" }), "/x/huggingface/hub");
  assert.equal(cacheOf({ XDG_CACHE_HOME: "/x", HF_HOME: "~/hf" }), "/home/me/hf/hub");
  assert.equal(cacheOf({ HF_HOME: "/hf", HUGGINGFACE_HUB_CACHE: "/old" }), "/old");
  assert.equal(cacheOf({ HF_HOME: "/hf", HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "$HOME/c" }), "/home/me/c");
  assert.equal(cacheOf({ HF_HOME: "", HF_HUB_CACHE: "" }), "/home/me/.cache/huggingface/hub");
});

test("offline mode, the endpoint and the time limits are read as huggingface_hub reads them", () => {
  assert.equal(readHubEnvironment({}).endpoint, "https://huggingface.co");
  assert.equal(readHubEnvironment({ HF_ENDPOINT: "http://127.0.0.1:9/hub/" }).endpoint, "http://127.0.0.1:9/hub");
  for (const value of [
    "hub.example",
    "ftp://hub.example",
    "https://me:secret@hub.example",
    "https://hub.example/?a=1",
  ]) {
    assert.throws(
      () => readHubEnvironment({ HF_ENDPOINT: value }),
      (error) => {
        assert.ok(error instanceof Error && "code" in error && error.code === "invalid_config");
        assert.doesNotMatch(error.message, /secret/);
        return true;
      },
    );
  }
  for (const value of ["1", "ON", "yes", "True"])
    assert.equal(readHubEnvironment({ HF_HUB_OFFLINE: value }).isOffline, true);
  for (const value of ["", "0", "no"]) assert.equal(readHubEnvironment({ HF_HUB_OFFLINE: value }).isOffline, false);
  assert.equal(readHubEnvironment({ TRANSFORMERS_OFFLINE: "1" }).isOffline, true);
  assert.equal(readHubEnvironment({ HF_HUB_DOWNLOAD_TIMEOUT: "2.5" }).stallTimeoutMs, 2500);
  assert.equal(readHubEnvironment({ HF_HUB_DOWNLOAD_TIMEOUT: "soon" }).stallTimeoutMs, 10_000);
});

test("the token is the variable's, else the file's, and a bad one is named without being shown", async () => {
  const folder = mkdtempSync(join(tmpdir(), "lorikeet-token-"));
  try {
    const tokenOf = (variables: Record<string, string>) =>
      readHubEnvironment({ HF_HOME: folder, ...variables }).readToken();
    assert.equal(await tokenOf({}), null);
    writeFileSync(join(folder, "token"), "hf_file\n");
    writeFileSync(join(folder, "other"), "hf_other");
    assert.equal(await tokenOf({}), "hf_file");
    assert.equal(await tokenOf({ HF_TOKEN_PATH: join(folder, "other") }), "hf_other");
    assert.equal(await tokenOf({ HF_TOKEN: " hf_variable " }), "hf_variable");
    assert.equal(await tokenOf({ HF_TOKEN: "hf_variable", HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" }), null);
    await assert.rejects(tokenOf({ HF_TOKEN: "hf_se\ncret" }), (error) => {
      assert.ok(error instanceof Error && "code" in error && error.code === "invalid_config");
      assert.match(error.message, /HF_TOKEN/);
      assert.doesNotMatch(error.message, /hf_se/);
      return true;
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
