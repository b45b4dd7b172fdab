/**
 * The client address that per-client limits use. `X-Forwarded-For` counts only when it comes from a proxy that the operator
 * trusts: anyone else could put anything there.
 */

import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";
import { at } from "../../base/list.js";

/** The fields of an IncomingMessage that give the address. */
export type Addressed = Pick<IncomingMessage, "headers"> & {
  readonly socket: { readonly remoteAddress?: string | undefined };
};

/** The client's key for limits: an IPv4 address, or the /64 of an IPv6 address, since providers assign a whole /64 per customer. */
export type ClientAddressOf = (req: Addressed) => string;

export class ClientAddresses {
  readonly #trusted = new BlockList();

  /** Addresses and networks (`10.0.0.0/8`, `::1`) of proxies whose `X-Forwarded-For` counts. */
  constructor(trustedProxies: readonly string[]) {
    for (const network of trustedProxies) {
      const [address, bits] = splitOnce(network, "/");
      const family = isIP(address) === 6 ? "ipv6" : "ipv4";
      if (bits === undefined) this.#trusted.addAddress(address, family);
      else this.#trusted.addSubnet(address, Number(bits), family);
    }
  }

  /** The rightmost hop that is not a trusted proxy. Anything to its left may be forged. */
  of({ headers, socket }: Addressed): string {
    let client = plainAddress(socket.remoteAddress ?? "");
    const hops = [headers["x-forwarded-for"] ?? []].flat().join(",").split(",");
    while (this.isTrusted(client)) {
      const hop = plainAddress(hops.pop() ?? "");
      if (hop === "") break;
      client = hop;
    }
    return keyOf(client);
  }

  /** Whether the address is a trusted proxy, which forwards other clients' requests. */
  isTrusted(address: string): boolean {
    const plain = plainAddress(address);
    return plain !== "" && this.#trusted.check(plain, isIP(plain) === 6 ? "ipv6" : "ipv4");
  }
}

/** The address without brackets, port, zone or IPv4-mapped prefix; empty if the text is not an address. */
function plainAddress(text: string): string {
  const trimmed = text.trim();
  const bare = /^\[(.*)\](?::\d+)?$/.exec(trimmed)?.[1] ?? /^([\d.]+):\d+$/.exec(trimmed)?.[1] ?? trimmed;
  const address = at(bare.split("%", 1), 0).replace(/^::ffff:(?=\d+\.)/i, "");
  return isIP(address) === 0 ? "" : address;
}

/** The same key for every spelling of an address. */
export function keyOf(address: string): string {
  const plain = plainAddress(address);
  if (isIP(plain) !== 6) return plain === "" ? "unknown" : plain;
  const [head, tail = ""] = splitOnce(new URL(`http://[${plain}]`).hostname.slice(1, -1), "::");
  const [left, right] = [groupsOf(head), groupsOf(tail)];
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  return `${groups.slice(0, 4).join(":")}::/64`;
}

const groupsOf = (text: string): string[] => (text === "" ? [] : text.split(":"));

/** The text before and after the first separator; undefined if there is none. */
function splitOnce(text: string, separator: string): [string, string | undefined] {
  const parts = text.split(separator, 2);
  return [at(parts, 0), parts[1]];
}
