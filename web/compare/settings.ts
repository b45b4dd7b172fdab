/** What is compared: the prompt, how it is sampled, and the columns. It lives in the address, so that a comparison can be shared. */
import { signal } from "@preact/signals";
import type { Ask, ExampleParameters } from "../client/types.js";
import { hrefOf, replaceParameters } from "../route.js";
import { bodyOf, formatTarget, parseTarget, type Target } from "./target.js";

export const mostColumns = 4;
/** Alternatives asked for with each token. */
const alternatives = 5;

export interface Settings {
  readonly isChat: boolean;
  readonly prompt: string;
  /** Of a chat. */
  readonly system: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  /** null: another one with each run. */
  readonly seed: number | null;
  readonly targets: readonly Target[];
  /** Whether tokens show their probability. */
  readonly isShaded: boolean;
}

export const defaults: Settings = {
  isChat: false,
  prompt: "",
  system: "",
  maxTokens: 80,
  temperature: 0.8,
  topP: 1,
  seed: 7,
  targets: [],
  isShaded: false,
};

export const settings = signal<Settings>(defaults);

/** The sampling that an example asks for, and the usual one where it says nothing. */
export function samplingOf({ temperature, top_p: topP, max_tokens: maxTokens }: ExampleParameters): Partial<Settings> {
  return {
    temperature: temperature ?? defaults.temperature,
    topP: topP ?? defaults.topP,
    ...(maxTokens === null ? {} : { maxTokens }),
  };
}

/** Changes some settings, and the address with them. */
export function change(changes: Partial<Settings>): void {
  settings.value = { ...settings.value, ...changes };
  replaceParameters("compare", toParameters(settings.value));
}

export function toParameters(settings: Settings): URLSearchParams {
  const { isChat, prompt, system, maxTokens, temperature, topP, seed, targets, isShaded } = settings;
  const parameters = new URLSearchParams();
  if (isChat) parameters.set("chat", "1");
  if (isChat && system !== "") parameters.set("system", system);
  parameters.set("prompt", prompt);
  parameters.set("max", String(maxTokens));
  parameters.set("t", String(temperature));
  if (topP !== defaults.topP) parameters.set("p", String(topP));
  parameters.set("seed", seed === null ? "" : String(seed));
  if (isShaded) parameters.set("shade", "1");
  for (const target of targets) parameters.append("c", formatTarget(target));
  return parameters;
}

export function fromParameters(parameters: URLSearchParams): Settings {
  const number = (name: string, fallback: number): number => {
    const text = parameters.get(name) ?? "";
    return text === "" || Number.isNaN(Number(text)) ? fallback : Number(text);
  };
  const seed = parameters.get("seed");
  return {
    isChat: parameters.get("chat") === "1",
    prompt: parameters.get("prompt") ?? "",
    system: parameters.get("system") ?? "",
    maxTokens: number("max", defaults.maxTokens),
    temperature: number("t", defaults.temperature),
    topP: number("p", defaults.topP),
    seed: seed === "" ? null : number("seed", defaults.seed ?? 0),
    targets: parameters.getAll("c").slice(0, mostColumns).map(parseTarget),
    isShaded: parameters.get("shade") === "1",
  };
}

/** The request of one column, as the WebSocket and the HTTP API take it. */
export function askOf(target: Target, settings: Settings): Ask {
  const { isChat, prompt, system, maxTokens, temperature, topP, seed } = settings;
  const common = {
    ...bodyOf(target),
    max_tokens: maxTokens,
    temperature,
    top_p: topP,
    ...(seed === null ? {} : { seed }),
  };
  if (!isChat) return { type: "completions", body: { ...common, prompt, logprobs: alternatives } };
  const messages = [
    ...(system === "" ? [] : [{ role: "system" as const, content: system }]),
    { role: "user" as const, content: prompt },
  ];
  return { type: "chat.completions", body: { ...common, messages, logprobs: true, top_logprobs: alternatives } };
}

/** The address of the comparison as it is now. */
export function hrefWith(): string {
  return new URL(hrefOf("compare", toParameters(settings.value)), location.href).href;
}
