/** What an upload says: why it was refused, and what a replaced adapter loses. */
import type { NamedFile } from "../client/tar.js";
import type { AdapterCard } from "../client/types.js";
import { isDescription, readmeFile } from "./readme.js";

export interface Refusal {
  readonly message: string;
  /** The faults that the message does not tell. */
  readonly faults: readonly string[];
}

/** As many as are read at a glance. */
const mostShown = 2;

/**
 * A message of few faults is told whole. One of many, "What happened: a; b; c; and 5 more. What else.", is cut after its first fault, and all
 * of them are listed.
 */
export function refusalOf({ message, faults }: Refusal): { cause: string; faults: readonly string[] } {
  const [, opening, clauses, ending = ""] = /^(.*?): (.*?)\.( [A-Z].*)?$/s.exec(message) ?? [];
  const told = clauses?.split("; ").filter((clause) => !/^and \d+ more$/.test(clause)) ?? [];
  const [first] = told;
  const all = [...told, ...faults];
  if (first === undefined || all.length <= mostShown) return { cause: message, faults };
  return { cause: `${opening}: ${first}, and more.${ending}`, faults: all };
}

/** Each completes "it loses". */
export function lossesOf(files: readonly NamedFile[], { readme, examples, training, chart }: AdapterCard): string[] {
  const lacks = (name: string): boolean => !files.some((file) => file.name === name);
  const count = examples.length;
  const losesReadme = readme !== null && lacks(readmeFile) && (count > 0 || !isDescription(readme));
  const withExamples = count === 0 ? "" : ` with its ${count === 1 ? "example" : `${count} examples`}`;
  return [
    ...(losesReadme ? [`its README${withExamples} (${readmeFile})`] : []),
    ...(training !== null && lacks("lorikeet.json") ? ["the record of its training (lorikeet.json)"] : []),
    ...(chart !== null && lacks("training.svg") ? ["its training chart (training.svg)"] : []),
  ];
}
