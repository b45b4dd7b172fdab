/** Verifies the adapters of a running server: downloads each one and compares it with the digest that the server reports. */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AdapterBase, type CheckOptions, describeAdapter } from "../../adapter/format.js";
import { isVersion } from "../../adapter/store/version-digest.js";
import { receiveTar, uploadDefaults } from "../../adapter/upload/upload.js";
import { LorikeetError } from "../../base/errors.js";
import type { RemoteServer } from "./remote.js";

export interface RemoteVerdict {
  readonly name: string;
  readonly digest: string;
  readonly error: Error | null;
}

/** The server has checked these adapters against its limits, so downloads are not limited. */
const limits = { ...uploadDefaults, receivedBytes: Number.MAX_SAFE_INTEGER, unpackedBytes: Number.MAX_SAFE_INTEGER };

/** Without `modules`, adapters are not checked against a base. Throws a RemoteError if the server does not answer. */
export async function* verifyRemote(
  server: RemoteServer,
  adapters: readonly { readonly name: string; readonly digest: string }[],
  modules: AdapterBase | null,
): AsyncGenerator<RemoteVerdict> {
  const root = await mkdtemp(join(tmpdir(), "lorikeet-verify-"));
  try {
    for (const { name, digest } of adapters) {
      const folder = join(root, "adapter");
      await mkdir(folder);
      const body = await server.download(name);
      const options: CheckOptions = { label: `The adapter "${name}"` };
      const error = await receiveTar({ body }, folder, limits)
        .then(() => describeAdapter(folder, modules, options))
        .then(({ summary }) => (isVersion(summary, digest) ? null : digestMismatch(name, digest, summary.digest)))
        .catch((cause: unknown) => (cause instanceof Error ? cause : new Error(String(cause))));
      yield { name, digest, error };
      await rm(folder, { recursive: true, force: true });
    }
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

function digestMismatch(name: string, allowed: string, found: string): LorikeetError {
  const message = `The adapter "${name}" has the digest ${found}; ${allowed} was expected.`;
  return new LorikeetError("digest_mismatch", message, { param: name, found, allowed });
}
