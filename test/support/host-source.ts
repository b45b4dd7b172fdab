import assert from "node:assert/strict";
import type { AdapterSource, HostAdapter } from "../../src/adapter/types.js";

/** A source of adapters that are all in memory already, also of those that are added later. */
export function hostSource(adapters: readonly (HostAdapter | null | undefined)[]): AdapterSource {
  return {
    prefetch: () => {},
    acquire: async (digest) => {
      const adapter = adapters.find((each) => each?.digest === digest);
      assert.ok(adapter);
      return { adapter, from: "host", loadMs: 0, release: () => {} };
    },
  };
}
