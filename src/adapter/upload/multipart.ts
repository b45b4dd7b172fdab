/** An adapter as a multipart form of two files, `config` and `weights`, written to a folder as it arrives. Does not read them. */

import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { Dicer } from "@fastify/busboy";
import { LorikeetError } from "../../base/errors.js";
import { configFile, weightFiles } from "../format.js";
import { DigestProof } from "./content-digest.js";
import { type IntakeLimits, intake, type UploadBody } from "./intake.js";

const fields = ["config", "weights"] as const;
type Field = (typeof fields)[number];
type PartHeaders = Readonly<Record<string, readonly string[] | undefined>>;

/** File names of weights that the check recognizes; any other is replaced by PEFT's. */
const weightNames = [...weightFiles, "adapter_model.bin", "adapter_model.pt"];

/** Writes `config` and `weights` into `target`. Throws `invalid_upload`, `digest_mismatch`, or what reading the body throws. */
export async function unpackMultipart(
  upload: UploadBody,
  target: string,
  limits: IntakeLimits,
  signal: AbortSignal,
): Promise<void> {
  const stop = new AbortController();
  const form = new FormReader(boundaryOf(upload.contentType ?? ""), target, stop);
  try {
    for await (const chunk of intake(upload, limits, AbortSignal.any([signal, stop.signal]))) await form.write(chunk);
    await form.end();
  } finally {
    await form.close();
  }
}

/** The parser and its parts. The first fault stops it, and every open file is closed. */
class FormReader {
  readonly #target: string;
  readonly #parser: Dicer;
  readonly #seen = new Set<Field>();
  readonly #parts: Readable[] = [];
  readonly #writes: Promise<void>[] = [];
  readonly #finished: Promise<void>;
  readonly #abort: AbortController;
  #fault: unknown = null;
  #isFinished = false;
  #wake: () => void = () => {};

  /** Aborts `stop` with the first fault. */
  constructor(boundary: string, target: string, stop: AbortController) {
    this.#target = target;
    this.#abort = stop;
    this.#parser = new Dicer({ boundary, maxHeaderPairs: 32 });
    this.#parser.on("error", (cause: Error) => this.#stop(refused(`The form is incomplete (${cause.message})`)));
    this.#finished = new Promise((resolve) => {
      this.#parser.once("finish", () => {
        // A write that completes the last part gets no callback: the end of the form stands in for it.
        this.#isFinished = true;
        this.#wake();
        resolve();
      });
    });
    this.#parser.on("part", (part: Readable) => {
      this.#parts.push(part);
      part.on("error", () => {}); // the parser reports it, too
      part.on("header", (headers: PartHeaders) => this.#writes.push(this.#receive(part, headers)));
    });
  }

  /** Resolves when the parser accepts more: slow writes slow the sender down. */
  async write(chunk: Buffer): Promise<void> {
    if (this.#isFinished) return;
    await this.#unlessStopped((done) => this.#parser.write(chunk, () => done()));
  }

  /** Throws unless both parts arrived completely. */
  async end(): Promise<void> {
    await this.#unlessStopped((done) => {
      void this.#finished.then(done);
      this.#parser.end();
    });
    await Promise.all(this.#writes);
    if (this.#fault) throw this.#fault;
    const missing = fields.filter((field) => !this.#seen.has(field));
    if (missing.length > 0) throw refused(`The form has no part named ${missing.join(" and none named ")}`);
  }

  /** Waits until no part is being written. An incomplete part is abandoned. */
  async close(): Promise<void> {
    for (const part of this.#parts) part.destroy();
    this.#parser.destroy();
    await Promise.all(this.#writes);
  }

  /** Waits for the parser or a fault: after a fault the parser may never call back. */
  async #unlessStopped(start: (done: () => void) => void): Promise<void> {
    if (!this.#fault) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        start(resolve);
      });
    }
    if (this.#fault) throw this.#fault;
  }

  async #receive(part: Readable, headers: PartHeaders): Promise<void> {
    try {
      const { field, file } = this.#admit(headers);
      const proof = new DigestProof(headers["content-digest"]?.join(", "), `The part "${field}"`);
      await writePart(part, join(this.#target, file), proof);
    } catch (cause) {
      this.#stop(cause);
    }
  }

  #admit(headers: PartHeaders): { readonly field: Field; readonly file: string } {
    const disposition = headers["content-disposition"]?.[0] ?? "";
    const name = parameter(disposition, "name");
    const field = fields.find((each) => each === name);
    if (!/^form-data\b/i.test(disposition) || !field) throw refused(`The form has a part named ${quote(name)}`);
    if (this.#seen.has(field)) throw refused(`The form has two parts named "${field}"`);
    this.#seen.add(field);
    if (field === "config") return { field, file: configFile };
    const given = parameter(disposition, "filename")?.split(/[\\/]/).at(-1);
    return { field, file: weightNames.find((each) => each === given) ?? weightFiles[0] };
  }

  #stop(fault: unknown): void {
    this.#fault ??= fault;
    this.#abort.abort(this.#fault);
    this.#wake();
  }
}

async function writePart(part: Readable, path: string, proof: DigestProof): Promise<void> {
  const file = await open(path, "wx");
  try {
    for await (const chunk of part) {
      proof.update(chunk);
      await file.writeFile(chunk);
    }
  } finally {
    await file.close();
  }
  proof.verify();
}

function boundaryOf(contentType: string): string {
  const boundary = parameter(contentType, "boundary");
  if (boundary && boundary.length <= 70) return boundary;
  throw refused(`The Content-Type ${quote(contentType)} has no boundary of at most 70 characters`);
}

/** A parameter of a header's value, such as `name` in `form-data; name="config"`. */
function parameter(value: string, name: string): string | undefined {
  for (const [, key, quoted, plain] of value.matchAll(/;\s*([a-z*]+)=(?:"([^"]*)"|([^;\s"]*))/gi)) {
    if (key?.toLowerCase() === name) return quoted ?? plain;
  }
  return undefined;
}

function quote(text: string | undefined): string {
  return text === undefined ? "nothing" : JSON.stringify(text.slice(0, 100));
}

function refused(clause: string): LorikeetError {
  return new LorikeetError("invalid_upload", `${clause}; exactly the parts "config" and "weights" are expected.`, {
    param: "body",
    found: clause,
    allowed: fields,
  });
}
