/** A file as OpenAI's clients upload it: a multipart form of `file`, `purpose` and, if it is to expire sooner, `expires_after`. */
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { type FormPart, quote, readForm } from "../../adapter/upload/form.js";
import type { IntakeLimits } from "../../adapter/upload/intake.js";
import type { UploadBody } from "../../adapter/upload/upload.js";
import { LorikeetError } from "../../base/errors.js";
import type { FileStore } from "../../jobs/file-store.js";
import type { FilePurpose, StoredFile } from "../../jobs/types.js";
import { wellFormed } from "../../text/characters.js";

/** Bytes of a field that is not the file. */
const maxFieldBytes = 1_024;
const maxNameLength = 255;
const fields = ["file", "purpose", "expires_after[anchor]", "expires_after[seconds]"] as const;
type Field = (typeof fields)[number];

/** Other purposes of OpenAI's need routes that this server does not have. */
const purposes: readonly FilePurpose[] = ["fine-tune", "user_data"];
const leastTtlSeconds = 3_600;
const mostTtlSeconds = 2_592_000;

/** Stores an uploaded file. Throws `invalid_value`, `invalid_upload`, `unsupported_media_type`, `store_full`, or what receiving throws. */
export async function receiveFile(
  store: FileStore,
  owner: string,
  upload: UploadBody,
  limits: IntakeLimits,
  signal: AbortSignal,
): Promise<StoredFile> {
  requireForm(upload.contentType ?? "");
  const draft = await store.draft(upload.contentLength ?? 0);
  try {
    const texts = new Map<Field, string>();
    const contents: { readonly filename: string; readonly lines: number }[] = [];
    const receive = async (part: FormPart): Promise<void> => {
      const field = admit(part, texts);
      if (field !== "file") {
        texts.set(field, await readText(part.body, field));
        return;
      }
      texts.set(field, "");
      contents.push({ filename: filenameOf(part.filename), lines: await writeLines(part.body, draft.content) });
    };
    await readForm(upload, limits, signal, { receive, refuse });
    const [content] = contents;
    if (content === undefined) throw noContent();
    const { filename, lines } = content;
    return await store.keep(draft, { owner, filename, lines, purpose: purposeOf(texts), ttlMs: ttlOf(texts) });
  } catch (error) {
    await store.discard(draft);
    throw store.fault(error);
  }
}

function requireForm(contentType: string): void {
  if (/^multipart\/form-data\b/i.test(contentType.trim())) return;
  const message = "A file must be sent as a form, with `content-type: multipart/form-data`.";
  throw new LorikeetError("unsupported_media_type", message, { param: "content-type" });
}

function admit({ name }: FormPart, seen: ReadonlyMap<Field, string>): Field {
  const field = fields.find((each) => each === name);
  if (!field) throw refuse(`The form has a part named ${quote(name)}`);
  if (seen.has(field)) throw refuse(`The form has two parts named "${field}"`);
  return field;
}

async function readText(part: Readable, field: Field): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of part) {
    const chunk = Buffer.from(piece);
    bytes += chunk.length;
    if (bytes > maxFieldBytes) throw refuse(`The part "${field}" has more than ${maxFieldBytes} bytes`);
    pieces.push(chunk);
  }
  return Buffer.concat(pieces).toString("utf8").trim();
}

/** Writes the bytes, and counts the lines that are not blank. */
async function writeLines(part: Readable, path: string): Promise<number> {
  const file = await open(path, "wx");
  let lines = 0;
  let isBlank = true;
  try {
    for await (const piece of part) {
      const chunk = Buffer.from(piece);
      for (const byte of chunk) {
        if (byte === 10) isBlank = true;
        else if (isBlank && byte > 32) {
          isBlank = false;
          lines++;
        }
      }
      await file.writeFile(chunk);
    }
  } finally {
    await file.close();
  }
  return lines;
}

/** Headers of parts are read as Latin-1; clients write UTF-8. */
function filenameOf(given: string | undefined): string {
  const text = Buffer.from(given ?? "", "latin1").toString("utf8");
  const name =
    text
      .split(/[\\/]/)
      .at(-1)
      ?.replace(/\p{Cc}/gu, "") ?? "";
  return wellFormed(name.slice(0, maxNameLength)) || "file";
}

function noContent(): LorikeetError {
  const message = "`file` is required: a part of the form with the file's bytes.";
  return new LorikeetError("invalid_value", message, { param: "file" });
}

function purposeOf(texts: ReadonlyMap<Field, string>): FilePurpose {
  const given = texts.get("purpose");
  const purpose = purposes.find((each) => each === given);
  if (purpose !== undefined) return purpose;
  const allowed = purposes.map((each) => `"${each}"`).join(" or ");
  const message = `\`purpose\` must be ${allowed}; found ${given === undefined ? "nothing" : quote(wellFormed(given))}.`;
  throw new LorikeetError("invalid_value", message, { param: "purpose", allowed: purposes });
}

/** Milliseconds; null where the client does not say. */
function ttlOf(texts: ReadonlyMap<Field, string>): number | null {
  const anchor = texts.get("expires_after[anchor]");
  const seconds = texts.get("expires_after[seconds]");
  if (anchor === undefined && seconds === undefined) return null;
  if (anchor !== "created_at") {
    throw new LorikeetError("invalid_value", '`expires_after.anchor` must be "created_at".', {
      param: "expires_after.anchor",
    });
  }
  const value = /^\d{1,9}$/.test(seconds ?? "") ? Number(seconds) : 0;
  if (value >= leastTtlSeconds && value <= mostTtlSeconds) return 1000 * value;
  const message = `\`expires_after.seconds\` must be an integer from ${leastTtlSeconds} to ${mostTtlSeconds}.`;
  throw new LorikeetError("invalid_value", message, { param: "expires_after.seconds" });
}

function refuse(clause: string): LorikeetError {
  return new LorikeetError(
    "invalid_upload",
    `${clause}; the parts "file", "purpose" and "expires_after" are expected.`,
    {
      param: "body",
      found: clause,
      allowed: fields,
    },
  );
}
