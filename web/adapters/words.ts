/** The server's terms for where an adapter is and came from, in words that need no manual. */
import type { AdapterInfo, Tier } from "../client/types.js";

export const tierWords: Readonly<Record<Tier, string>> = {
  device: "device: in the memory that steps read",
  host: "host: in memory, ready to be copied to the device",
  disk: "disk: loaded with the next request",
};

export const sourceWords: Readonly<Record<AdapterInfo["source"], string>> = {
  store: "uploaded",
  folder: "a folder on the server",
  base: "came with the base",
};
