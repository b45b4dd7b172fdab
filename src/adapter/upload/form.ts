/** Reads a multipart form as it arrives: each part is received while the next bytes come. Knows nothing of what the parts are. */

import type { Readable } from "node:stream";
import { Dicer } from "@fastify/busboy";
import type { LorikeetError } from "../../base/errors.js";
import { type IntakeLimits, intake, type UploadBody } from "./intake.js";

export interface FormPart {
  readonly name: string | undefined;
  readonly filename: string | undefined;
  /** RFC 9530's field of the part. */
  readonly contentDigest: string | undefined;
  readonly body: Readable;
}

export interface FormReading {
  /** Receives a part; what it throws ends the form. */
  receive(part: FormPart): Promise<void>;
  /** The fault of a form that is broken as this clause says. */
  refuse(clause: string): LorikeetError;
}

type PartHeaders = Readonly<Record<string, readonly string[] | undefined>>;

/** Resolves when every part is received. Throws what `receive` and `refuse` give, or what reading the body throws. */
export async function readForm(
  upload: UploadBody,
  limits: IntakeLimits,
  signal: AbortSignal,
  reading: FormReading,
): Promise<void> {
  const stop = new AbortController();
  const form = new FormReader(boundaryOf(upload.contentType ?? "", reading), reading, stop);
  try {
    for await (const chunk of intake(upload, limits, AbortSignal.any([signal, stop.signal]))) await form.write(chunk);
    await form.end();
  } finally {
    await form.close();
  }
}

/** The parser and its parts. The first fault stops it, and every part is received to its end or abandoned. */
class FormReader {
  readonly #parser: Dicer;
  readonly #parts: Readable[] = [];
  readonly #writes: Promise<void>[] = [];
  readonly #finished: Promise<void>;
  readonly #abort: AbortController;
  readonly #reading: FormReading;
  #fault: unknown = null;
  #isFinished = false;
  #wake: () => void = () => {};

  /** Aborts `stop` with the first fault. */
  constructor(boundary: string, reading: FormReading, stop: AbortController) {
    this.#reading = reading;
    this.#abort = stop;
    this.#parser = new Dicer({ boundary, maxHeaderPairs: 32 });
    this.#parser.on("error", (cause: Error) => this.#stop(reading.refuse(`The form is incomplete (${cause.message})`)));
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

  /** Throws unless every part arrived completely. */
  async end(): Promise<void> {
    await this.#unlessStopped((done) => {
      void this.#finished.then(done);
      this.#parser.end();
    });
    await Promise.all(this.#writes);
    if (this.#fault) throw this.#fault;
  }

  /** Waits until no part is being received. An incomplete part is abandoned. */
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

  async #receive(body: Readable, headers: PartHeaders): Promise<void> {
    try {
      const disposition = headers["content-disposition"]?.[0] ?? "";
      const name = parameter(disposition, "name");
      if (!/^form-data\b/i.test(disposition)) throw this.#reading.refuse(`The form has a part named ${quote(name)}`);
      const filename = parameter(disposition, "filename");
      await this.#reading.receive({ name, filename, contentDigest: headers["content-digest"]?.join(", "), body });
    } catch (cause) {
      this.#stop(cause);
    }
  }

  #stop(fault: unknown): void {
    this.#fault ??= fault;
    this.#abort.abort(this.#fault);
    this.#wake();
  }
}

function boundaryOf(contentType: string, { refuse }: FormReading): string {
  const boundary = parameter(contentType, "boundary");
  if (boundary && boundary.length <= 70) return boundary;
  throw refuse(`The Content-Type ${quote(contentType)} has no boundary of at most 70 characters`);
}

/** A parameter of a header's value, such as `name` in `form-data; name="config"`. */
function parameter(value: string, name: string): string | undefined {
  for (const [, key, quoted, plain] of value.matchAll(/;\s*([a-z*]+)=(?:"([^"]*)"|([^;\s"]*))/gi)) {
    if (key?.toLowerCase() === name) return quoted ?? plain;
  }
  return undefined;
}

export function quote(text: string | undefined): string {
  return text === undefined ? "nothing" : JSON.stringify(text.slice(0, 100));
}
