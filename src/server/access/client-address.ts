/**
 * Who is asking: the one address that limits for each client go by. Behind proxies that the operator trusts it is what
 * `X-Forwarded-For` says; from anyone else that header is only a claim and does not count.
 */

import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";
import { at } from "../../base/list.js";

/** What a request has to show: an IncomingMessage, or its part in a test. */
export type Addressed = Pick<IncomingMessage, "headers"> & {
  readonly socket: { readonly remoteAddress?: string | undefined };
};

/** The client's key for limits: an IPv4 address, or the /64 network of an IPv6 address, which one customer is given whole. */
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

  /** The rightmost hop that is no trusted proxy: whatever stands left of it was written by someone unknown. */
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

  /** Whether connections from here carry other clients' requests. */
  isTrusted(address: string): boolean {
    const plain = plainAddress(address);
    return plain !== "" && this.#trusted.check(plain, isIP(plain) === 6 ? "ipv6" : "ipv4");
  }
}

/** An address without brackets, port, zone and the prefix of an IPv4 address in IPv6; empty where it is none. */
function plainAddress(text: string): string {
  const trimmed = text.trim();
  const bare = /^\[(.*)\](?::\d+)?$/.exec(trimmed)?.[1] ?? /^([\d.]+):\d+$/.exec(trimmed)?.[1] ?? trimmed;
  const address = at(bare.split("%", 1), 0).replace(/^::ffff:(?=\d+\.)/i, "");
  return isIP(address) === 0 ? "" : address;
}

/** One key for all spellings. */
export function keyOf(address: string): string {
  const plain = plainAddress(address);
  if (isIP(plain) !== 6) return plain === "" ? "unknown" : plain;
  const [head, tail = ""] = splitOnce(new URL(`http://[${plain}]`).hostname.slice(1, -1), "::");
  const [left, right] = [groupsOf(head), groupsOf(tail)];
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  return `${groups.slice(0, 4).join(":")}::/64`;
}

const groupsOf = (text: string): string[] => (text === "" ? [] : text.split(":"));

/** What stands before and behind a separator; undefined where there is none. */
function splitOnce(text: string, separator: string): [string, string | undefined] {
  const parts = text.split(separator, 2);
  return [at(parts, 0), parts[1]];
}
