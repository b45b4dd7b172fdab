/** What the page says of files that cannot be an adapter, before it sends them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Origin, parcelFault } from "../../web/adapters/parcel-fault.js";

const allowed =
  " An adapter is a PEFT folder, its files (adapter_config.json and adapter_model.safetensors), or a tar of them.";
const from = (inner: string[]): Origin => ({ kind: "folder", name: "mine", inner });

test("files that cannot be an adapter are refused with what was found and what is allowed", () => {
  for (const [files, origin, found] of [
    [["cat.png"], { kind: "files" }, "cat.png is not an adapter."],
    [["mine.zip"], { kind: "files" }, "mine.zip is not a tar: unpack it, and drop the folder."],
    [["adapter_config (1).json"], { kind: "files" }, "adapter_config (1).json is not an adapter."],
    [["a", "b", "c", "d", "e"], { kind: "files" }, "None of the 5 files belongs to an adapter: a, b, c and 2 more."],
    [[], from([]), "The folder mine is empty."],
    [
      [],
      from(["x", "y"]),
      "The folder mine has no files of its own, only folders: x, y. Drop the one with the adapter.",
    ],
    [["model.safetensors"], from(["x"]), "model.safetensors is not an adapter."],
    [[], { kind: "several", names: ["mine", "cat.png"] }, "Found mine, cat.png; drop one folder alone."],
    [[], { kind: "unread", name: "mine" }, "mine cannot be read."],
  ] satisfies [string[], Origin, string][]) {
    assert.equal(parcelFault(files, origin), found + allowed);
  }
});

test("what looks like an adapter is left to the server, and half of one is told what it lacks", () => {
  const config = "adapter_config.json";
  for (const name of ["adapter_model.safetensors", "adapters.safetensors", "adapter_model.bin"]) {
    assert.equal(parcelFault(["README.md", name, config], from(["checkpoints"])), null, name);
    assert.equal(parcelFault([name], from([])), `Found ${name}, but ${config} is missing.${allowed}`);
  }
  const missing = `Found ${config}, but adapter_model.safetensors is missing.`;
  assert.equal(parcelFault(["README.md", config], from([])), missing + allowed);
});
