/** Which ONNX Runtime is loaded, and which are refused. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { OrtApi, ort } from "../../src/runtime/api.js";
import { libraryPath, versionFault } from "../../src/runtime/ort-library.js";

const root = mkdtempSync(join(tmpdir(), "lorikeet-library-"));
after(() => rmSync(root, { recursive: true }));
const named = (path: string) => ({ LORIKEET_ONNXRUNTIME_LIBRARY: path });

test("the package's library is the default; a variable names another file, or a folder that has one", () => {
  const own = libraryPath({});
  assert.match(own, /onnxruntime-node/);
  assert.equal(libraryPath(named("")), own);
  assert.equal(libraryPath(named(own)), own);
  assert.equal(libraryPath(named(dirname(own))), own);
});

test("a variable that names nothing is refused", () => {
  assert.throws(
    () => libraryPath(named(join(root, "none.so"))),
    /LORIKEET_ONNXRUNTIME_LIBRARY: .*none\.so does not exist\.$/,
  );
  assert.throws(() => libraryPath(named(root)), {
    code: "runtime_failed",
    message: /LORIKEET_ONNXRUNTIME_LIBRARY: .* has no .*onnxruntime/,
  });
});

test("versions from 1.29 on are taken, older ones refused by number", () => {
  for (const version of ["1.29.0", "1.30.1", "2.0.0", ort().version]) assert.equal(versionFault(version), null);
  for (const version of ["1.28.2", "1.9.0", "0.99.0"]) {
    assert.match(versionFault(version) ?? "", new RegExp(`^ONNX Runtime ${version} is too old: Lorikeet needs 1\\.29`));
  }
});

test("a file that is no library, or another one, is refused", () => {
  const text = join(root, "text.so");
  writeFileSync(text, "no library");
  assert.throws(() => new OrtApi(text), {
    code: "runtime_failed",
    message: /text\.so does not load as ONNX Runtime: /,
  });
  const other = process.platform === "linux" ? "libc.so.6" : text;
  assert.throws(() => new OrtApi(other), { code: "runtime_failed", message: /does not load as ONNX Runtime: / });
});
