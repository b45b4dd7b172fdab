/** `lorikeet generate`: streams one answer to the terminal, from an engine in this process. */

import { text as readAll } from "node:stream/consumers";
import type { Command } from "commander";
import { silent } from "../../base/log.js";
import type { Answer } from "../../gateway/answer.js";
import { openAiProtocols } from "../../gateway/openai/protocol.js";
import { loadTokenizer } from "../../text/tokenizer/tokenizer.js";
import { adaptersFolderOf, openNamedAdapter } from "../adapters/source.js";
import { addOptions, readOptions } from "../options/command-line.js";
import { tickingLine } from "../progress.js";
import { cancelledLine, listenForShutdown, signalExitCode } from "../serve/shutdown.js";
import { openStack } from "../stack.js";
import { locateDecoder } from "../task-model.js";
import { printLine, printResponse, type Terminal } from "../terminal.js";
import { Quit, UsageError } from "../usage.js";
import { type GenerateSettings, generateOptions, singleSequence } from "./options.js";

export function addGenerate(program: Command, terminal: Terminal): void {
  const command = program
    .command("generate")
    .description("answer one prompt on the terminal, without a server")
    .argument("[prompt]", "the prompt; if it is missing or -, it is read from stdin")
    .option("--json", "print the complete answer as JSON at the end", false);
  addOptions(command, generateOptions).action(async (prompt: string | undefined, { json }: { json: boolean }) => {
    const settings = readOptions(command, generateOptions, terminal.environment);
    const text = await readPrompt(prompt);
    const model = settings.model && (await locateDecoder(settings.model, terminal));
    await generate(text, { ...settings, model }, json, terminal);
  });
}

async function readPrompt(prompt: string | undefined): Promise<string> {
  if (prompt !== undefined && prompt !== "-") return prompt;
  if (process.stdin.isTTY) throw new UsageError(["A prompt is required, as an argument or on stdin."]);
  const text = (await readAll(process.stdin)).replace(/\n$/, "");
  if (text === "") throw new UsageError(["A prompt is required, as an argument or on stdin (which was empty)."]);
  return text;
}

async function generate(prompt: string, settings: GenerateSettings, json: boolean, terminal: Terminal): Promise<void> {
  const progress = tickingLine(terminal.stderr);
  await using adapter = await adapterOf(settings, terminal);
  progress.report("starting the engine", 0, 0);
  await using stack = await openStack({
    settings: { ...settings, ...singleSequence },
    servedName: null,
    adapters: adapter && { directory: adapter.folder, logger: silent },
    // The terminal shows the whole text, reasoning included.
    gateway: { generationConfig: settings.generationConfig, reasoningParser: json ? "auto" : "none" },
    neededContext: await neededContext(prompt, settings),
    logger: silent,
    progress: progress.report,
  }).finally(() => progress.end());
  using shutdown = listenForShutdown(terminal);
  // The adapter is alone in its folder.
  for (const { error } of stack.adapters?.store.refused() ?? []) throw error;
  const body = bodyOf(prompt, settings, adapter?.name ?? stack.name, !json);
  const { gateway } = stack;
  const protocol = openAiProtocols(gateway)[settings.chat ? "chat" : "completions"];
  const reading = { route: protocol.route, read: () => protocol.read(body) };
  const answer = await gateway.complete(reading, shutdown.signal);
  try {
    if (json) printResponse(terminal.stdout, await protocol.whole(answer));
    else await stream(answer, terminal);
  } catch (error) {
    if (!shutdown.signal.aborted) throw error;
    printLine(terminal.stdout, "");
    const name = await shutdown.requested;
    printLine(terminal.stderr, cancelledLine(name));
    throw new Quit(signalExitCode(name));
  }
}

/** Maximum tokens of prompt and answer. A model may allow a million, and the KV cache should not be that large. */
async function neededContext(
  prompt: string,
  { model, chat, chatTemplate, maxTokens }: GenerateSettings,
): Promise<number> {
  if (model === null) return Number.POSITIVE_INFINITY;
  const tokenizer = await loadTokenizer(model, { chatTemplateFile: chatTemplate ?? undefined });
  if (tokenizer === null) return Number.POSITIVE_INFINITY;
  try {
    const messages = [{ role: "user", content: prompt }];
    const text = chat ? tokenizer.renderChat(messages, { addGenerationPrompt: true }) : prompt;
    const ids = await tokenizer.encode(text, { addSpecialTokens: !chat });
    // An empty prompt runs as one token.
    return Math.max(1, ids.length) + maxTokens;
  } finally {
    await tokenizer.close();
  }
}

async function adapterOf({ adapter, adapters, model }: GenerateSettings, terminal: Terminal) {
  if (adapter === null) return null;
  const source = await openNamedAdapter(adapter, { option: "--adapter", adapters, model }, terminal);
  return await adaptersFolderOf(source, adapter, model ?? "");
}

/** The request as a client would send it. */
function bodyOf(prompt: string, settings: GenerateSettings, model: string, stream: boolean): object {
  return {
    model,
    ...(settings.chat ? { messages: [{ role: "user", content: prompt }] } : { prompt }),
    max_tokens: settings.maxTokens,
    temperature: settings.temperature,
    top_p: settings.topP,
    top_k: settings.topK,
    min_p: settings.minP,
    seed: settings.seed,
    stop: settings.stop,
    stream,
  };
}

async function stream(answer: Pick<Answer, "parts">, terminal: Terminal): Promise<void> {
  for await (const { text } of answer.parts()) if (text !== "") terminal.stdout.write(text);
  printLine(terminal.stdout, "");
}
