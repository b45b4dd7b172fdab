/** The Content-Digest field (RFC 9530): parses the digest that a sender announces and compares it with the received bytes. */

import { createHash, type Hash } from "node:crypto";
import { LorikeetError } from "../../base/errors.js";

const algorithms = { "sha-256": { name: "sha256", bytes: 32 }, "sha-512": { name: "sha512", bytes: 64 } } as const;
const maxFieldLength = 1_024;

interface Expectation {
  readonly algorithm: keyof typeof algorithms;
  readonly digest: Buffer;
  readonly hash: Hash;
}

/** Hashes bytes if the sender gave a digest that can be verified, and compares at the end. */
export class DigestProof {
  readonly #what: string;
  readonly #expectations: readonly Expectation[];

  /** `field` is the header's value, `what` the bytes' name in messages. Throws `invalid_value` for a malformed field. */
  constructor(field: string | null | undefined, what: string) {
    this.#what = what;
    this.#expectations = field === undefined || field === null ? [] : parse(field);
  }

  update(chunk: Uint8Array): void {
    for (const { hash } of this.#expectations) hash.update(chunk);
  }

  /** Throws `digest_mismatch`, with both digests, if they differ. Call it once. */
  verify(): void {
    for (const { algorithm, digest, hash } of this.#expectations) {
      const found = hash.digest();
      if (found.equals(digest)) continue;
      const [given, received] = [digest.toString("base64"), found.toString("base64")];
      throw new LorikeetError(
        "digest_mismatch",
        `${this.#what} has the ${algorithm} digest ${received}; Content-Digest says ${given}.`,
        { param: "content-digest", found: received, allowed: given },
      );
    }
  }
}

/** The members that can be verified. Other algorithms are ignored, as the RFC allows. */
function parse(field: string): Expectation[] {
  if (field.length > maxFieldLength) throw malformed(`${field.length} characters`);
  const found: Expectation[] = [];
  for (const member of field.split(",")) {
    const [, key = "", value = ""] = /^\s*([a-z*][a-z0-9_.*-]*)=(.*?)\s*$/.exec(member) ?? [];
    if (key === "") throw malformed(member.trim());
    if (key !== "sha-256" && key !== "sha-512") continue;
    const text = /^:([A-Za-z0-9+/]+={0,2}):$/.exec(value)?.[1];
    const digest = Buffer.from(text ?? "", "base64");
    if (digest.length !== algorithms[key].bytes) throw malformed(member.trim());
    found.push({ algorithm: key, digest, hash: createHash(algorithms[key].name) });
  }
  return found;
}

function malformed(found: string): LorikeetError {
  return new LorikeetError(
    "invalid_value",
    `The Content-Digest ${JSON.stringify(found)} cannot be read; sha-256=:<base64 of 32 bytes>: is expected.`,
    { param: "content-digest", found, allowed: "sha-256=:<base64>:" },
  );
}
