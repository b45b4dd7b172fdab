/** The README that the page writes for files without one. */
import { type NamedFile, packTar } from "../client/tar.js";

export const readmeFile = "README.md";

/** Its first paragraph says what the adapter does, as `lorikeet train --description` begins it. */
export const readmeOf = (name: string, description: string): string =>
  `# ${name}\n\n${description.trim().replace(/\s+/g, " ")}\n`;

export const withReadme = (files: readonly NamedFile[], readme: string): Blob =>
  packTar([...files, { name: readmeFile, content: new Blob([readme]) }]);

/** Whether it is no more than the page writes: a heading and a paragraph. */
export const isDescription = (readme: string): boolean => readme.trim().split(/\n\s*\n/).length <= 2;
