/** A request's client: its peer, or the address that trusted proxies report. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ClientAddresses } from "../../src/server/access/client-address.js";

function clientOf(trusted: readonly string[], remoteAddress: string | undefined, forwarded?: string): string {
  const headers = forwarded === undefined ? {} : { "x-forwarded-for": forwarded };
  return new ClientAddresses(trusted).of({ headers, socket: { remoteAddress } });
}

test("without a trusted proxy the client is the peer, whatever a header claims", () => {
  assert.equal(clientOf([], "192.0.2.7"), "192.0.2.7");
  assert.equal(clientOf([], "192.0.2.7", "198.51.100.1"), "192.0.2.7");
  assert.equal(clientOf(["10.0.0.0/8"], "192.0.2.7", "198.51.100.1"), "192.0.2.7");
  assert.equal(clientOf([], undefined), "unknown");
});

test("behind trusted proxies the client is the rightmost hop that is none of them", () => {
  const trusted = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"];
  assert.equal(clientOf(trusted, "10.1.2.3", "198.51.100.1"), "198.51.100.1");
  assert.equal(clientOf(trusted, "127.0.0.1", "6.6.6.6, 198.51.100.1, 10.9.9.9"), "198.51.100.1");
  assert.equal(clientOf(trusted, "fd12::1", "198.51.100.1:4711"), "198.51.100.1");
  assert.equal(clientOf(trusted, "127.0.0.2", "198.51.100.1"), "127.0.0.2", "one address is not its network");
});

test("a proxy that forwards no valid address counts as the client", () => {
  assert.equal(clientOf(["10.0.0.1"], "10.0.0.1"), "10.0.0.1");
  assert.equal(clientOf(["10.0.0.1"], "10.0.0.1", "unknown"), "10.0.0.1");
  assert.equal(clientOf(["10.0.0.1"], "10.0.0.1", ""), "10.0.0.1");
  assert.equal(clientOf(["10.0.0.0/8"], "10.0.0.1", "10.0.0.2"), "10.0.0.2");
});

test("all spellings of one client are one key; IPv6 counts by /64", () => {
  assert.equal(clientOf([], "::ffff:192.0.2.7"), "192.0.2.7");
  assert.equal(clientOf(["192.0.2.7"], "::ffff:192.0.2.7", "198.51.100.1"), "198.51.100.1");
  const spellings = ["2001:db8:1:2:3:4:5:6", "2001:DB8:1:2::9", "2001:0db8:0001:0002:0:0:0:1"];
  for (const spelling of spellings) assert.equal(clientOf([], spelling), "2001:db8:1:2::/64");
  assert.equal(clientOf([], "fe80::1%eth0"), "fe80:0:0:0::/64");
  assert.equal(clientOf([], "::1"), "0:0:0:0::/64");
  assert.equal(clientOf(["::1"], "::1", "[2001:db8:1:2::9]:443"), "2001:db8:1:2::/64");
});
