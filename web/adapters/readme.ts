/** The README that the page writes for files without one, and the sentence that it adds to one without any. */
import { type NamedFile, packTar } from "../client/tar.js";
import { summaryOf } from "../parts/summary.js";

export const readmeFile = "README.md";

/** Its first paragraph says what the adapter does, as `lorikeet train --description` begins it. */
export const readmeOf = (name: string, description: string): string => `# ${name}\n\n${oneLine(description)}\n`;

const oneLine = (text: string): string => text.trim().replace(/\s+/g, " ");

const frontMatter = /^---\r?\n(?:[\s\S]*?\r?\n)?---\r?\n/;

/** Whether a README says what its adapter does. */
export const saysWhatItDoes = (readme: string): boolean => summaryOf(readme.replace(frontMatter, "")) !== null;

/** A README with a description as its first paragraph, below its front matter and its title. */
export function described(readme: string, description: string): string {
  const front = frontMatter.exec(readme)?.[0] ?? "";
  const body = readme.slice(front.length);
  const title = /^\s*#[^\n]*\n/.exec(body)?.[0] ?? "";
  return `${front}${title}\n${oneLine(description)}\n\n${body.slice(title.length).trimStart()}`;
}

/** A tar of files with a README, in place of theirs. */
export const withReadme = (files: readonly NamedFile[], readme: string): Blob =>
  packTar([...files.filter(({ name }) => name !== readmeFile), { name: readmeFile, content: new Blob([readme]) }]);

/** Whether it is no more than the page writes: a heading and a paragraph. */
export const isDescription = (readme: string): boolean => readme.trim().split(/\n\s*\n/).length <= 2;
