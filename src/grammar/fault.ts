/** What is wrong with a grammar: the client's fault, in one sentence that names what was found. */
export class GrammarFault extends Error {}

/** Keys and words of a schema are untrusted: messages show at most this many characters of one. */
export const shown = (text: string): string => (text.length <= 64 ? text : `${text.slice(0, 64)}…`);
