/** What a request line asks for. Knows no route. */

/**
 * The target as a path: that of a whole URL, which clients of a proxy send. Express passes by every check for a target in which it finds
 * no path (`GET http://`): such a one becomes a path that no route has.
 */
export function pathTarget(target: string): string {
  if (target.startsWith("/") || target === "*") return target;
  if (!URL.canParse(target)) return `/${target}`;
  const { pathname, search } = new URL(target);
  return pathname.startsWith("/") ? pathname + search : `/${target}`;
}
