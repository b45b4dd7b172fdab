/** The target of a request line: as a path, and the parameters behind it. */

/**
 * The target as a path. Clients behind a proxy may send a full URL. For a target without a path (`GET http://`) Express would
 * skip all middleware, so it becomes a path that no route has.
 */
export function pathTarget(target: string): string {
  if (target.startsWith("/") || target === "*") return target;
  if (!URL.canParse(target)) return `/${target}`;
  const { pathname, search } = new URL(target);
  return pathname.startsWith("/") ? pathname + search : `/${target}`;
}

/** The parameters behind the path. */
export function queryOf({ url }: { readonly url: string }): URLSearchParams {
  const at = url.indexOf("?");
  return new URLSearchParams(at < 0 ? "" : url.slice(at + 1));
}
