/** Folders of this machine that a client may name: only those below the one that the operator allowed. */
import { realpath, stat } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { LorikeetError } from "../base/errors.js";

/**
 * The real paths of both. Throws LorikeetError `adapter_not_found`, the same for a path that is outside, missing or not a folder, so
 * that nothing is learned of the rest of the disk.
 */
export async function folderBelow(allowed: string, path: string): Promise<{ root: string; folder: string }> {
  try {
    const root = await realpath(allowed);
    const folder = await realpath(resolve(root, path));
    if (folder !== root && folder.startsWith(join(root, sep)) && (await stat(folder)).isDirectory())
      return { root, folder };
  } catch {
    // Falls through to the one fault.
  }
  throw new LorikeetError(
    "adapter_not_found",
    "No adapter found: the path is not a folder below the one that the operator allowed with `--lora-path-root`.",
    { param: "path" },
  );
}
