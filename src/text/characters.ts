/** Text as clients count it: in characters (code points), never in halves of one. */

/** Characters of well-formed text. A pair of surrogates is one. */
export function characterCount(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit <= 0xdbff) count--;
  }
  return count;
}

/** Each lone surrogate as U+FFFD, which is what it becomes on its way through UTF-8. */
export function wellFormed(text: string): string {
  return loneSurrogate.test(text) ? text.replace(/\p{Surrogate}/gu, "\uFFFD") : text;
}

const loneSurrogate = /\p{Surrogate}/u;
