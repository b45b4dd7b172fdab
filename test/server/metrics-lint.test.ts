/** The rules of `promtool check metrics` on everything that the server exposes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openServerRig } from "../support/rig.js";

interface Family {
  readonly name: string;
  help: string | null;
  type: string | null;
  readonly labels: Set<string>;
}

/** Families by name, with every label of their series; a name that is described twice is a fault. */
function parseExposition(text: string): { families: Map<string, Family>; faults: string[] } {
  const families = new Map<string, Family>();
  const faults: string[] = [];
  const familyOf = (name: string): Family => {
    const found = families.get(name) ?? { name, help: null, type: null, labels: new Set<string>() };
    families.set(name, found);
    return found;
  };
  const series = new Set<string>();
  for (const line of text.split("\n").filter((each) => each !== "")) {
    const described = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line);
    if (described) {
      const [, kind, name = "", value = ""] = described;
      const family = familyOf(name);
      if ((kind === "HELP" ? family.help : family.type) !== null) faults.push(`${name} has two ${kind} lines`);
      if (kind === "HELP") family.help = value;
      else family.type = value;
      continue;
    }
    const [, name = "", labels = ""] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (name === "") faults.push(`no sample: ${line}`);
    if (series.has(name + labels)) faults.push(`twice: ${line}`);
    series.add(name + labels);
    const base = name.replace(/_(bucket|sum|count)$/, "");
    const family = familyOf(families.has(name) ? name : base);
    for (const [, label = ""] of labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) family.labels.add(label);
  }
  return { families, faults };
}

const abbreviations =
  /(^|_)(s|ms|us|ns|sec|secs|millis|milliseconds|minutes|hours|days|kb|mb|gb|kib|mib|gib|b|megabytes|kilobytes|percent)(_|$)/;

function lint({ name, help, type, labels }: Family): string[] {
  const faults: string[] = [];
  const fault = (what: string): void => void faults.push(`${name}: ${what}`);
  if (!help) fault("no help text");
  if (type === null) fault("no type");
  if (type === "counter" && !name.endsWith("_total")) fault("a counter must end in _total");
  if (type !== "counter" && name.endsWith("_total")) fault("only counters end in _total");
  if (type !== "histogram" && labels.has("le")) fault("the label le is the histograms'");
  if (type !== "summary" && labels.has("quantile")) fault("the label quantile is the summaries'");
  if (type !== "histogram" && type !== "summary" && /_(count|sum|bucket)$/.test(name)) fault("a reserved suffix");
  if (/_(gauge|counter|histogram|summary)(_|$)/.test(name)) fault("the type is in the name");
  if (/[a-z][A-Z]/.test(name) || [...labels].some((label) => /[a-z][A-Z]/.test(label))) fault("camelCase");
  if (abbreviations.test(name)) fault("not a base unit, or abbreviated");
  // Names that routers look for are vLLM's, colon and all.
  if (name.includes(":") && !name.startsWith("vllm:")) fault("a colon is for recording rules");
  return faults;
}

test("every metric follows promtool's rules", async () => {
  await using rig = await openServerRig();
  await rig.adapters.add("plays");
  for (const model of ["base", "plays", "none"]) {
    await fetch(`${rig.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model, prompt: "x", max_tokens: 2 }),
    });
  }
  const { families, faults } = parseExposition(await (await fetch(`${rig.url}/metrics`)).text());
  for (const family of families.values()) faults.push(...lint(family));
  assert.ok(families.size > 30);
  assert.deepEqual(faults, []);
});
