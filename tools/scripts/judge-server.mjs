/**
 * Compares a server with `lorikeet eval`, row by row: evaluates each adapter alone, then serves all of them at once and requests
 * the same rows over HTTP, mixed, with many clients. In fp32, so that rounding hides nothing: chosen labels and greedy answers
 * must be equal, and log-probabilities within 1e-6 per token. Exits with 1 if a row differs.
 *
 *     npm run build
 *     node tools/scripts/judge-server.mjs <folder of data folders> [--model models/bookworm-7m] [--adapters adapters]
 *         [--rows n] [--clients 16]
 *
 * The data of an adapter lies in the folder of its name.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { freePort, startServer } from "../ci/server.mjs";

const main = fileURLToPath(new URL("../../dist/src/cli/main.js", import.meta.url));
const perToken = 1e-6;

/** The results of `eval` for an adapter's rows. */
function judgeAlone(name, { model, adapters, data, rows, folder }) {
  const details = join(folder, `${name}.jsonl`);
  const args = ["eval", "--model", model, "--adapter", join(adapters, name), "--data", join(data, name)];
  const more = [
    "--dtype",
    "fp32",
    "--details",
    details,
    "--max-length",
    "256",
    ...(rows ? ["--max-eval-samples", rows] : []),
  ];
  execFileSync(process.execPath, [main, ...args, ...more], { stdio: ["ignore", "ignore", "inherit"] });
  const lines = readFileSync(details, "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line));
}

async function complete(url, body) {
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ temperature: 0, ...body }),
  });
  const answer = await response.json();
  if (response.status !== 200) throw new Error(`${response.status}: ${JSON.stringify(answer)}`);
  return answer.choices[0];
}

/** The log-probability of a text after its first `from` characters. */
async function scoreText(url, model, text, from) {
  const { logprobs } = await complete(url, { model, prompt: text, max_tokens: 0, echo: true, logprobs: 0 });
  const { token_logprobs: values, text_offset: offsets } = logprobs;
  return values.reduce((sum, value, i) => (offsets[i] >= from ? sum + value : sum), 0);
}

async function scoreIds(url, model, ids, from) {
  const { logprobs } = await complete(url, { model, prompt: ids, max_tokens: 0, echo: true, logprobs: 0 });
  return logprobs.token_logprobs.slice(Math.max(from, 1)).reduce((sum, value) => sum + value, 0);
}

/** Requests one row. Returns what differs, and the largest difference of log-probabilities per token. */
async function compareRow(url, model, row, endToken) {
  const faults = [];
  const learned = row.token_ids.length - Math.max(row.prompt_tokens, 1);
  let largest = Math.abs(-(await scoreIds(url, model, row.token_ids, row.prompt_tokens)) - row.loss) / learned;
  if (row.answer !== undefined) {
    const most = learned + 4;
    const { text } = await complete(url, { model, prompt: row.prompt, max_tokens: most });
    const answered = text.trimEnd();
    if (answered !== row.answer) faults.push(`answered ${JSON.stringify(answered)}, not ${JSON.stringify(row.answer)}`);
  }
  if (row.scores !== undefined) {
    const labels = Object.keys(row.scores);
    const scores = [];
    for (const label of labels) {
      scores.push(await scoreText(url, model, `${row.prompt} ${label}${endToken}`, row.prompt.length));
    }
    const choice = labels[scores.indexOf(Math.max(...scores))];
    if (choice !== row.choice) faults.push(`chose ${choice}, not ${row.choice}`);
    largest = Math.max(largest, ...labels.map((label, i) => Math.abs(scores[i] - row.scores[label])));
  }
  if (!(largest <= perToken)) faults.push(`log-probabilities differ by ${largest}`);
  return { faults, largest };
}

/** Rows of all adapters in an order that mixes them. */
function mix(judged) {
  const queue = [...judged].flatMap(([name, rows]) =>
    rows.map((row, i) => ({ name, row, at: (i + 0.5) / rows.length })),
  );
  return queue.sort((left, right) => left.at - right.at || (left.name < right.name ? -1 : 1));
}

async function compare(url, judged, { clients, endToken }) {
  const queue = mix(judged);
  const results = new Map([...judged.keys()].map((name) => [name, { rows: 0, different: 0, largest: 0 }]));
  const faults = [];
  const client = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const { name, row } = next;
      const found = await compareRow(url, name, row, endToken);
      const result = results.get(name);
      result.rows++;
      result.largest = Math.max(result.largest, found.largest);
      if (found.faults.length === 0) continue;
      result.different++;
      faults.push(`${name}, ${row.file}:${row.line}: ${found.faults.join("; ")}`);
    }
  };
  await Promise.all(Array.from({ length: Number(clients) }, client));
  return { results, faults };
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: "models/bookworm-7m" },
    adapters: { type: "string", default: "adapters" },
    rows: { type: "string" },
    clients: { type: "string", default: "16" },
  },
});
const { model, adapters } = values;
const [data = "tools/recipes/data"] = positionals;
const { eos_token: endToken } = JSON.parse(readFileSync(join(model, "tokenizer_config.json"), "utf8"));
const names = readdirSync(adapters).filter(
  (name) => existsSync(join(adapters, name, "adapter_config.json")) && existsSync(join(data, name)),
);
if (names.length === 0) throw new Error(`No folder in ${data} is named after an adapter in ${adapters}.`);
const folder = mkdtempSync(join(tmpdir(), "lorikeet-judged-"));
try {
  const judged = new Map(names.map((name) => [name, judgeAlone(name, { ...values, data, folder })]));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const args = ["serve", "--model", model, "--adapters", adapters, "--dtype", "fp32", "--port", String(port)];
  const stop = await startServer(process.execPath, [main, ...args, "--log-level", "warn"], `${url}/ready`);
  const { results, faults } = await compare(url, judged, { clients: values.clients, endToken }).finally(stop);
  for (const fault of faults.slice(0, 20)) console.error(fault);
  console.log(JSON.stringify(Object.fromEntries(results)));
  if (faults.length > 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
