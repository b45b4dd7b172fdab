/** The request of a column as a program: curl, and the `openai` package in Node.js and Python. Keys are left to the environment. */
import { askOf, type Settings } from "./settings.js";
import type { Target } from "./target.js";

export const languages = ["curl", "node", "python"] as const;
export type Language = (typeof languages)[number];

export const languageNames: Readonly<Record<Language, string>> = {
  curl: "curl",
  node: "openai for Node.js",
  python: "openai for Python",
};

/** Where a program finds the server. */
export interface Place {
  /** Without a slash at its end. */
  readonly address: string;
  /** The model that a mixture names beside its adapters. */
  readonly base: string;
  readonly needsKey: boolean;
}

interface Call extends Place {
  readonly path: "completions" | "chat.completions";
  readonly request: object;
}

export function program(language: Language, target: Target, settings: Settings, place: Place): string {
  const { type, body } = askOf(target, settings);
  const request = Object.entries({ model: place.base, ...body }).filter(([name]) => !name.endsWith("logprobs"));
  return { curl, node, python }[language]({ ...place, path: type, request: Object.fromEntries(request) });
}

function curl({ path, request, address, needsKey }: Call): string {
  const json = JSON.stringify(request).replaceAll("'", "'\\''");
  return [
    `curl -sS ${address}/v1/${path.replace(".", "/")} \\`,
    "  -H 'content-type: application/json' \\",
    ...(needsKey ? ['  -H "authorization: Bearer $LORIKEET_API_KEY" \\'] : []),
    `  -d '${json}'`,
  ].join("\n");
}

function node({ path, request, address, needsKey }: Call): string {
  const text = path === "completions" ? "text" : "delta.content";
  const key = needsKey ? "process.env.LORIKEET_API_KEY" : '"none"';
  return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${address}/v1", apiKey: ${key} });
const stream = await client.${path}.create(${JSON.stringify({ ...request, stream: true }, null, 2)});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.${text} ?? "");
`;
}

/** Fields that OpenAI's package does not know go into `extra_body`. */
function python({ path, request, address, needsKey }: Call): string {
  const known = Object.entries({ ...request, stream: true }).filter(([name]) => name !== "adapters");
  const fields = known.map(([name, value]) => `    ${name}=${literal(value)},`);
  if ("adapters" in request) fields.push(`    extra_body=${literal({ adapters: request.adapters })},`);
  const text = path === "completions" ? "text" : "delta.content";
  return `${needsKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url="${address}/v1", api_key=${needsKey ? 'os.environ["LORIKEET_API_KEY"]' : '"none"'})
stream = client.${path}.create(
${fields.join("\n")}
)
for chunk in stream:
    print(chunk.choices[0].${text} or "", end="", flush=True)
`;
}

/** A value in Python. Its strings and numbers are spelled as in JSON. */
function literal(value: unknown): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`)
    .join(", ")}}`;
}
