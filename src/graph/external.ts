/** Finds the files beside an ONNX file that hold its external data. Refuses every path that leaves the file's folder. */

import { realpathSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, relative, sep } from "node:path";
import { type OnnxFault, quoted } from "./onnx-fault.js";

export interface ExternalFile {
  /** Absolute, without symbolic links. */
  readonly file: string;
  readonly byteLength: number;
}

/** The file of a `location`. Throws LorikeetError if there is none that may be read. */
export type LocateExternal = (location: string, tensor: string) => ExternalFile;

/**
 * Locates external data of the ONNX file at `path`. Links are followed only to the file's own folder, or to the folder that the file
 * itself is a link into, as in the Hugging Face cache.
 */
export function externalBeside(path: string, fault: OnnxFault): LocateExternal {
  const folder = dirname(path);
  const found = new Map<string, ExternalFile>();
  const locate = (location: string, tensor: string): ExternalFile => {
    const of = `keeps tensor ${quoted(tensor)} in ${quoted(location)}`;
    if (location === "" || isAbsolute(location) || /[\\\0]|(^|\/)\.\.(\/|$)/.test(location)) {
      throw fault.invalid(`${of}; a relative path to a file in its own folder is allowed`);
    }
    let file: string;
    try {
      file = realpathSync(join(folder, location));
    } catch (cause) {
      throw fault.invalid(`${of}, which is not there: download it too`, cause);
    }
    const roots = [realpathSync(folder), dirname(realpathSync(path))];
    if (!roots.some((root) => isBelow(root, file))) {
      throw fault.invalid(`${of}, a link to another folder; a file in its own folder is allowed`);
    }
    const status = statSync(file);
    if (!status.isFile()) throw fault.invalid(`${of}, which is not a regular file`);
    return { file, byteLength: status.size };
  };
  return (location, tensor) => {
    const known = found.get(location) ?? locate(location, tensor);
    found.set(location, known);
    return known;
  };
}

function isBelow(root: string, file: string): boolean {
  const path = relative(root, file);
  return path !== "" && path !== ".." && !path.startsWith(`..${sep}`) && !isAbsolute(path);
}
