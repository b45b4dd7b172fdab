/** Removes the folders from paths below the server's own folders, in any message that a client may read. */

/** `/srv/models/tiny/config.json` becomes `config.json` where `/srv/models` is private; the folder itself keeps its last name. */
export function hidePaths(text: string, folders: readonly string[]): string {
  const roots = folders
    .map((folder) => folder.replace(/[/\\]+$/, ""))
    .filter((folder) => folder.length > 1)
    .sort((a, b) => b.length - a.length)
    .map((folder) => escapePattern(folder));
  if (roots.length === 0) return text;
  // Only whole paths: `adapters` in `/v1/adapters/x` is not our folder.
  const path = new RegExp(`(?<![\\w./\\\\-])(?:${roots.join("|")})(?![\\w-])((?:[/\\\\][^\\s"'\`:;,)/\\\\]*)*)`, "g");
  return text.replace(path, (found: string, below: string) => (isPath(found, below) ? lastName(found) : found));
}

/** A relative folder's name may be an ordinary word, so it counts as a path only if something follows it. */
const isPath = (found: string, below: string): boolean => below.length > 1 || /^([/\\]|[a-z]:)/i.test(found);

const lastName = (path: string): string => path.split(/[/\\]/).findLast((name) => name !== "" && name !== ".") ?? "";

const escapePattern = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
