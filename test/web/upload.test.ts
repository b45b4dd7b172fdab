/** What the page says of an upload: its description, what a replaced adapter loses, and why it was refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { described, readmeOf, saysWhatItDoes, withReadme } from "../../web/adapters/readme.js";
import { lossesOf, refusalOf } from "../../web/adapters/upload-words.js";
import { usageOf } from "../../web/adapters/usage.js";
import { packTar } from "../../web/client/tar.js";
import { filesOfTar } from "../../web/client/untar.js";

const filesOf = (...names: readonly string[]) => names.map((name) => ({ name, content: new Blob(["x"]) }));
const bare = filesOf("adapter_config.json", "adapter_model.safetensors");

test("a description becomes the first paragraph of a README in the tar", async () => {
  const readme = readmeOf("bard", " Writes\n as a bard would. ");
  assert.equal(readme, "# bard\n\nWrites as a bard would.\n");
  const tar = await withReadme(bare, readme).text();
  assert.ok(tar.includes("README.md\0") && tar.includes(readme));
});

test("a card asks the server that the reader looks at, and then says how to serve it elsewhere", () => {
  const serve = "```sh\nnpx lorikeet serve --model m\n```";
  const curl = (address: string) => `\`\`\`sh\ncurl ${address}/v1/completions\n\`\`\``;
  const section = `${serve}\n\nIn a second terminal:\n\n${curl("http://localhost:8080")}\n\nIts labels are a, b.`;
  const request = `${curl("http://here:1")}\n\nIts labels are a, b.`;
  assert.deepEqual(usageOf(section, "http://here:1"), { request, serve });
  assert.deepEqual(usageOf("As PEFT does.", "http://here:1"), { request: "As PEFT does.", serve: null });
});

test("a card's request asks for the adapter by the name that it has here", () => {
  const asked = (section: string) =>
    usageOf(`\`\`\`sh\nlorikeet serve\n\`\`\`\n\n${section}`, "http://here:1", "a/b").request;
  assert.equal(asked(`curl -d '{"model":"plays","prompt":"model"}'`), `curl -d '{"model":"a/b","prompt":"model"}'`);
  assert.equal(asked("curl http://localhost:8080/models/plays/pipeline"), "curl http://here:1/models/a%2Fb/pipeline");
  const two = `{"model":"plays"} or {"model":"base"}`;
  assert.equal(asked(two), two);
});

test("a README without a sentence gets one below its title", () => {
  const bare = "---\nlicense: mit\n---\n# bard\n\n| a |\n";
  assert.equal(saysWhatItDoes(bare), false);
  const readme = described(bare, "Writes\nverse.");
  assert.equal(readme, "---\nlicense: mit\n---\n# bard\n\nWrites verse.\n\n| a |\n");
  assert.equal(saysWhatItDoes(readme), true);
});

test("the files of a tar are listed, plain or gzip, also in its one folder; what is no tar is not", async () => {
  const listed = async (tar: Blob) => {
    const files = await filesOfTar(tar, "adapter_config.json");
    return files && Promise.all(files.map(async ({ name, content }) => [name, await content.text()]));
  };
  const contents = [
    ["README.md", "x"],
    ["adapter_config.json", "x"],
  ];
  const tar = packTar(filesOf("README.md", "adapter_config.json"));
  assert.deepEqual(await listed(tar), contents);
  assert.deepEqual(await listed(new Blob([gzipSync(new Uint8Array(await tar.arrayBuffer()))])), contents);
  assert.deepEqual(await listed(packTar(filesOf("a/README.md", "a/adapter_config.json", "a/b/c"))), contents);
  assert.deepEqual(await listed(packTar(filesOf("README.md", "a/adapter_config.json"))), contents.slice(1));
  assert.equal(await listed(packTar(filesOf("a/b/adapter_config.json"))), null);
  for (const other of ["", "x".repeat(600)])
    assert.deepEqual(await listed(new Blob([other])), other === "" ? [] : null);
  assert.equal(await listed(new Blob([gzipSync("x").subarray(0, 12)])), null);
});

test("a replaced adapter's losses are told", () => {
  const parameters = { temperature: null, top_p: null, max_tokens: null };
  const example = { title: null, text: "ROMEO:", picture: null, parameters };
  const card = {
    name: "bard",
    readme: "# bard\n\nWrites.\n\nMore.",
    examples: [example, example],
    labels: [],
    target_modules: [],
  };
  assert.deepEqual(lossesOf(bare, { ...card, training: {}, chart: null }), [
    "its README with its 2 examples (README.md)",
    "the record of its training (lorikeet.json)",
  ]);
  const described = { ...card, readme: readmeOf("bard", "Writes."), examples: [], training: null, chart: null };
  assert.deepEqual(lossesOf(bare, described), []);
  assert.deepEqual(lossesOf([...bare, ...filesOf("README.md")], { ...card, training: null, chart: null }), []);
});

test("a refusal of many faults is cut after its first, and lists all; one of few is told whole", () => {
  const clauses = ["module a takes 2 inputs", "module b takes 2 inputs"];
  const message = `The adapter does not fit the base "x" (its config names "y"): ${clauses.join("; ")}; and 9 more. It fits none.`;
  const cause =
    'The adapter does not fit the base "x" (its config names "y"): module a takes 2 inputs, and more. It fits none.';
  assert.deepEqual(refusalOf({ message, faults: ["module c"] }), { cause, faults: [...clauses, "module c"] });
  const short = { message: "The adapter was refused for 2 faults: a is missing; b is missing.", faults: [] };
  assert.deepEqual(refusalOf(short), { cause: short.message, faults: [] });
});
