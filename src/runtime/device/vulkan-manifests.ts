/** The manifests by which Vulkan's loader finds drivers on Linux, read to say why none of them works. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, delimiter, dirname, join, resolve } from "node:path";
import { loadLibrary } from "../library.js";

/**
 * Why no driver starts, as half a sentence: there is none, or these are there and do not work, each with what its library lacks.
 * The places are those of the loader's documentation, "Driver Discovery on Linux".
 */
export function explainNoDriver(environment: NodeJS.ProcessEnv = process.env): string {
  const drivers = driverManifests(environment).map((file) => {
    const fault = libraryFault(file);
    return fault === null ? basename(file) : `${basename(file)}: ${fault}`;
  });
  if (drivers.length === 0) return "no Vulkan driver is installed";
  return `no Vulkan driver works here (${drivers.join("; ")})`;
}

function driverManifests(environment: NodeJS.ProcessEnv): string[] {
  const named = environment.VK_DRIVER_FILES ?? environment.VK_ICD_FILENAMES;
  const places = named?.split(delimiter) ?? searchFolders(environment).map((folder) => join(folder, "vulkan", "icd.d"));
  return [...new Set(places.filter(Boolean).flatMap(manifestsAt))].sort();
}

function searchFolders({ HOME, XDG_CONFIG_HOME, XDG_CONFIG_DIRS, XDG_DATA_HOME, XDG_DATA_DIRS }: NodeJS.ProcessEnv) {
  const home = (folder: string): string[] => (HOME ? [join(HOME, folder)] : []);
  return [
    ...(XDG_CONFIG_HOME ? [XDG_CONFIG_HOME] : home(".config")),
    ...(XDG_CONFIG_DIRS || "/etc/xdg").split(delimiter),
    "/etc",
    ...(XDG_DATA_HOME ? [XDG_DATA_HOME] : home(".local/share")),
    ...(XDG_DATA_DIRS || "/usr/local/share:/usr/share").split(delimiter),
  ];
}

/** The manifest itself, or those in a folder. What cannot be read is not there for the loader either. */
function manifestsAt(place: string): string[] {
  try {
    if (!statSync(place).isDirectory()) return [place];
    return readdirSync(place)
      .filter((name) => name.endsWith(".json"))
      .map((name) => join(place, name));
  } catch {
    return [];
  }
}

/** Why the manifest's library cannot be loaded; null if it can, and so refuses to work for a reason of its own. */
function libraryFault(manifest: string): string | null {
  let path: unknown;
  try {
    path = (JSON.parse(readFileSync(manifest, "utf8")) as { ICD?: { library_path?: unknown } }).ICD?.library_path;
  } catch (error) {
    return firstLine(error);
  }
  if (typeof path !== "string") return "it names no library";
  try {
    // A path with a slash is relative to the manifest; the system's loader searches for a bare name.
    loadLibrary(path.includes("/") ? resolve(dirname(manifest), path) : path);
    return null;
  } catch (error) {
    return `${path}: ${firstLine(error)}`;
  }
}

const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";
