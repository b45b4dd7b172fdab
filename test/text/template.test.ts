import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { strftime } from "../../src/text/chat/strftime.js";
import { compileTemplate, findTemplate } from "../../src/text/chat/template.js";
import { directoryOf, expectedOf, families, load } from "./families.js";

const hi = [{ role: "user", content: "Hi" }];

describe("chats are rendered as transformers renders them", () => {
  for (const family of families) {
    const { chats } = expectedOf(family);
    if (chats.length === 0) continue;
    test(family, async () => {
      const tokenizer = await load(family);
      for (const { messages, addGenerationPrompt, text, ids, raises } of chats) {
        const render = () => tokenizer.renderChat(messages, { addGenerationPrompt });
        if (raises !== undefined) {
          assert.throws(render, {
            code: "invalid_value",
            message: `The chat template refused the messages: ${raises}`,
          });
          continue;
        }
        assert.equal(render(), text);
        assert.deepEqual(await tokenizer.encode(render(), { addSpecialTokens: false }), ids);
      }
    });
  }
});

describe("where a template comes from", async () => {
  const directory = await mkdtemp(join(tmpdir(), "lorikeet-template-"));
  after(() => rm(directory, { recursive: true }));
  const file = join(directory, "mine.jinja");
  await writeFile(file, "{{ bos_token }}mine:{{ messages[0].content }}");

  test("the operator's file takes precedence over the model's template", async () => {
    const tokenizer = await load("llama3", { chatTemplateFile: file });
    assert.equal(tokenizer.renderChat(hi, { addGenerationPrompt: false }), "<|begin_of_text|>mine:Hi");
  });

  test("chat_template.jinja takes precedence over tokenizer_config.json", async () => {
    await writeFile(join(directory, "chat_template.jinja"), "from the file");
    const found = await findTemplate(directory, { chat_template: "from the config" }, undefined);
    assert.equal(found?.text, "from the file");
    await rm(join(directory, "chat_template.jinja"));
    assert.equal(
      (await findTemplate(directory, { chat_template: "from the config" }, undefined))?.text,
      "from the config",
    );
  });

  test("chats with tools use the template that the model has for them, from either place", async () => {
    const named = {
      chat_template: [
        { name: "default", template: "plain" },
        { name: "tool_use", template: "with {{ tools[0].name }}" },
      ],
    };
    const found = await findTemplate(directory, named, undefined);
    assert.deepEqual([found?.text, found?.toolText], ["plain", "with {{ tools[0].name }}"]);
    assert.ok(found);
    const render = compileTemplate(found, new Map());
    assert.equal(render(hi, true, { tools: [{ name: "f" }] }), "with f");
    assert.equal(render(hi, true, { tools: [] }) + render(hi, true), "plainplain");
    await mkdir(join(directory, "additional_chat_templates"));
    await writeFile(join(directory, "chat_template.jinja"), "one");
    await writeFile(join(directory, "additional_chat_templates", "tool_use.jinja"), "two");
    const files = await findTemplate(directory, {}, undefined);
    assert.deepEqual([files?.text, files?.toolText], ["one", "two"]);
    await rm(join(directory, "chat_template.jinja"));
  });

  test("a missing --chat-template file is an invalid configuration", async () => {
    await assert.rejects(load("llama3", { chatTemplateFile: join(directory, "none") }), {
      code: "invalid_config",
      param: "--chat-template",
      message: /none cannot be read/,
    });
    await assert.rejects(load("llama3", { chatTemplateFile: directory }), { code: "invalid_config" });
  });

  test("named templates without a default are refused by their names", async () => {
    const config = {
      chat_template: [
        { name: "rag", template: "" },
        { name: "tool_use", template: "" },
      ],
    };
    await assert.rejects(findTemplate(directory, config, undefined), {
      code: "model_invalid",
      message: /rag, tool_use/,
    });
    await assert.rejects(findTemplate(directory, { chat_template: 7 }, undefined), { code: "model_invalid" });
  });

  test("a model without a template says how to set one", async () => {
    const tokenizer = await load("gpt2");
    assert.equal(tokenizer.chatTemplate, null);
    assert.throws(() => tokenizer.renderChat(hi, { addGenerationPrompt: true }), {
      code: "chat_template_missing",
      message: /--chat-template <file>/,
    });
  });

  test("the template's text is available", async () => {
    assert.match((await load("llama3")).chatTemplate ?? "", /start_header_id/);
    assert.equal(directoryOf("bookworm"), "models/bookworm-7m");
  });
});

describe("what templates may do", () => {
  const render = (text: string) =>
    compileTemplate({ text, origin: "here" }, new Map([["eos_token", "</s>"]]))(hi, true);

  test("special tokens that the model does not name are empty", () =>
    assert.equal(render("[{{ bos_token }}{{ eos_token }}]"), "[</s>]"));
  test("tools default to none", () => assert.equal(render("{{ tools is none }}{{ documents is none }}"), "TrueTrue"));
  test("ranges are Python's", () =>
    assert.equal(render("{% for i in range(9, 0, -4) %}{{ i }}{% endfor %}{{ range(0) | length }}"), "9510"));
  test("strftime_now is the local time", () =>
    assert.match(render("{{ strftime_now('%d %b %Y') }}"), /^\d\d [A-Z][a-z]{2} \d{4}$/));
  test("one rendering leaves no state for the next", () => {
    const text = "{% if x is defined %}again{% endif %}{% set x = 1 %}";
    const compiled = compileTemplate({ text, origin: "here" }, new Map());
    assert.equal(compiled(hi, true) + compiled(hi, true), "");
  });

  test("an endless range is refused", () => {
    assert.throws(() => render("{% for i in range(1000000000) %}{% endfor %}"), { code: "model_unsupported" });
  });
  test("a template that cannot be parsed or rendered names its file and the flag", () => {
    for (const text of ["{% if %}", "{{ messages | no_such_filter }}", "{{ nothing.at.all() }}"]) {
      assert.throws(() => render(text), { code: "model_unsupported", message: /here.*--chat-template/s }, text);
    }
  });
});

describe("what else templates receive", () => {
  const render = (text: string, options: Parameters<ReturnType<typeof compileTemplate>>[2]) =>
    compileTemplate({ text, origin: "here" }, new Map([["eos_token", "</s>"]]))(hi, false, options);

  test("tools, documents and variables by name, which hide special tokens but not the messages", () => {
    const text = "{{ tools[0].name }} {{ documents[0].title }} {{ eos_token }} {{ mode }} {{ messages[0].content }}";
    const kwargs = { eos_token: "<end>", mode: "brief", messages: [], tools: [] };
    assert.equal(render(text, { tools: [{ name: "f" }], documents: [{ title: "t" }], kwargs }), "f t <end> brief Hi");
  });

  test("a continued message ends the text, with its white space unless the template trims", () => {
    const open = [...hi, { role: "assistant", content: "Once  " }];
    const continued = (text: string, messages = open) =>
      compileTemplate({ text, origin: "here" }, new Map())(messages, false, { continueFinalMessage: true });
    assert.equal(
      continued("{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}."),
      "<user>Hi</><assistant>Once  ",
    );
    assert.equal(continued("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}"), "[Hi][Once");
    for (const text of ["{{ messages[0].content }}", "{{ messages[1].content | upper }}"]) {
      assert.throws(() => continued(text), { code: "invalid_value", param: "continue_final_message" });
    }
    assert.throws(() => continued("", []), { code: "invalid_value" });
  });
});

describe("an invalid template stops only chats", async () => {
  const directory = await mkdtemp(join(tmpdir(), "lorikeet-template-"));
  after(() => rm(directory, { recursive: true }));
  const wrong = async (text: string) => {
    const file = join(directory, "wrong.jinja");
    await writeFile(file, text);
    return load("llama3", { chatTemplateFile: file });
  };

  test("the tokenizer works and reports the error, and a chat is refused without the folder's name", async () => {
    const tokenizer = await wrong("a\n{% if %}");
    assert.ok((await tokenizer.encode("Hi", { addSpecialTokens: false })).length > 0);
    const message =
      /^The chat template wrong\.jinja cannot be parsed: line 2: .* Use --chat-template <file> to set another one\.$/;
    assert.match(tokenizer.templateFault?.message ?? "", message);
    assert.throws(() => tokenizer.renderChat(hi, { addGenerationPrompt: true }), {
      code: "model_unsupported",
      message,
    });
    assert.equal((await load("llama3")).templateFault, null);
  });

  test("an error that only some messages trigger is reported with those", async () => {
    const tokenizer = await wrong("{{ messages[0].content + messages[1].content }}");
    assert.equal(tokenizer.templateFault, null);
    assert.throws(() => tokenizer.renderChat(hi, { addGenerationPrompt: true }), {
      code: "model_unsupported",
      message: /^The chat template wrong\.jinja cannot be rendered: 'list object' has no element 1\./,
    });
  });

  test("messages that take too long are refused with the limit", async () => {
    const text = "{% for i in range(900) %}{% for j in range(900) %}{% endfor %}{% endfor %}";
    const render = compileTemplate({ text, origin: "here" }, new Map(), { maxSteps: 2000 });
    assert.throws(() => render(hi, true), {
      code: "chat_template_limit",
      message: /2000 steps\. --max-template-steps/,
    });
  });
});

test("times are formatted as in the C locale", () => {
  const date = new Date(2024, 1, 9, 15, 4, 5);
  assert.equal(
    strftime(date, "%A %a %d %-d %B %b %Y %y %H:%M:%S %I%p %j %F %T %% %Q"),
    "Friday Fri 09 9 February Feb 2024 24 15:04:05 03PM 040 2024-02-09 15:04:05 % %Q",
  );
});
