/** An adapter as a multipart form of two files, `config` and `weights`, written to a folder as it arrives. Does not read them. */

import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { LorikeetError } from "../../base/errors.js";
import { configFile, weightFiles } from "../format.js";
import { DigestProof } from "./content-digest.js";
import { type FormPart, quote, readForm } from "./form.js";
import type { IntakeLimits, UploadBody } from "./intake.js";

const fields = ["config", "weights"] as const;
type Field = (typeof fields)[number];

/** File names of weights that the check recognizes; any other is replaced by PEFT's. */
const weightNames = [...weightFiles, "adapter_model.bin", "adapter_model.pt"];

/** Writes `config` and `weights` into `target`. Throws `invalid_upload`, `digest_mismatch`, or what reading the body throws. */
export async function unpackMultipart(
  upload: UploadBody,
  target: string,
  limits: IntakeLimits,
  signal: AbortSignal,
): Promise<void> {
  const seen = new Set<Field>();
  const receive = async (part: FormPart): Promise<void> => {
    const { field, file } = admit(part, seen);
    const proof = new DigestProof(part.contentDigest, `The part "${field}"`);
    await writePart(part.body, join(target, file), proof);
  };
  await readForm(upload, limits, signal, { receive, refuse: refused });
  const missing = fields.filter((field) => !seen.has(field));
  if (missing.length > 0) throw refused(`The form has no part named ${missing.join(" and none named ")}`);
}

function admit({ name, filename }: FormPart, seen: Set<Field>): { readonly field: Field; readonly file: string } {
  const field = fields.find((each) => each === name);
  if (!field) throw refused(`The form has a part named ${quote(name)}`);
  if (seen.has(field)) throw refused(`The form has two parts named "${field}"`);
  seen.add(field);
  if (field === "config") return { field, file: configFile };
  const given = filename?.split(/[\\/]/).at(-1);
  return { field, file: weightNames.find((each) => each === given) ?? weightFiles[0] };
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

function refused(clause: string): LorikeetError {
  return new LorikeetError("invalid_upload", `${clause}; exactly the parts "config" and "weights" are expected.`, {
    param: "body",
    found: clause,
    allowed: fields,
  });
}
