/** The host names that this server answers to. A page can point its own host name at any address (DNS rebinding), so only known names pass. */
import { isIP } from "node:net";
import { hostname } from "node:os";
import { LorikeetError } from "../../base/errors.js";
import { isLoopback } from "./loopback.js";

export class Hosts {
  readonly #names: ReadonlySet<string>;
  /** `.example.com` for `*.example.com`. */
  readonly #suffixes: readonly string[];

  /** Names to allow besides addresses, loopback names and this machine's name: `box.lan`, `*.example.com`, or `*` for any. */
  constructor(allowed: readonly string[]) {
    this.#names = new Set([hostname(), ...allowed].map((name) => hostnameOf(`http://${name}`) || plain(name)));
    this.#suffixes = allowed.filter((name) => name.startsWith("*.")).map((name) => plain(name.slice(1)));
  }

  /** Throws LorikeetError `host_not_allowed` for a `Host` header that names none of this server's hosts. */
  check(host: string): void {
    const name = hostnameOf(`http://${host}`);
    if (name !== "" && this.#has(name)) return;
    const shown = JSON.stringify(host.slice(0, 200));
    throw new LorikeetError(
      "host_not_allowed",
      `The host ${shown} is not a name of this server; its operator allows hosts with \`--allowed-hosts\`.`,
      { found: host },
    );
  }

  #has(name: string): boolean {
    // A page cannot make an address its own name: its origin would be that address.
    if (isIP(bare(name)) !== 0 || isLoopback(name)) return true;
    if (this.#names.has("*") || this.#names.has(name)) return true;
    return this.#suffixes.some((suffix) => name.endsWith(suffix));
  }
}

/** The URL's host name in lower case, without its port or trailing dot; empty if the URL is invalid or holds more than a host. */
export function hostnameOf(url: string): string {
  if (!URL.canParse(url)) return "";
  const { hostname, username, password, pathname, search, hash } = new URL(url);
  const isHostAlone = username + password + search + hash === "" && (pathname === "/" || pathname === "");
  return isHostAlone ? plain(hostname) : "";
}

/** An IPv6 address without its brackets. */
export const bare = (name: string): string => name.replace(/^\[|\]$/g, "");

const plain = (name: string): string => name.toLowerCase().replace(/\.$/, "");
