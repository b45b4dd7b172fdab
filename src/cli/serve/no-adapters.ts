/** Stands in for store and cache without an adapters folder. Errors explain how to set one. */

import { AdapterCache } from "../../adapter/cache/cache.js";
import { Mixtures } from "../../adapter/cache/mixtures.js";
import { nothingStored } from "../../adapter/store/faults.js";
import type { HostAdapter } from "../../adapter/types.js";
import { LorikeetError } from "../../base/errors.js";
import type { CachePort, StorePort } from "../../gateway/adapters.js";

const refuse = async (): Promise<never> => {
  throw nothingStored();
};

const unknown = async (digest: string): Promise<never> => {
  throw new LorikeetError("adapter_not_found", `No adapter with the digest ${digest} is stored.`, { found: digest });
};

const store: StorePort = {
  takesUploads: false,
  resolve: () => null,
  list: () => [],
  isNamed: () => false,
  hold: () => () => {},
  stage: refuse,
  stageCopy: refuse,
  put: refuse,
  remove: async (name) => {
    throw new LorikeetError("adapter_not_found", `The adapter "${name}" does not exist.`, {
      param: "name",
      found: name,
    });
  },
  folder: unknown,
};

export function noAdapters(): {
  readonly own: StorePort;
  readonly cache: AdapterCache & CachePort;
  readonly mixtures: Mixtures;
} {
  const sizes = { bytesOf: () => undefined, largestBytes: () => 0 };
  return {
    own: store,
    cache: new AdapterCache<HostAdapter>({ maxBytes: 1, sizes, load: unknown }),
    mixtures: new Mixtures(() => false),
  };
}
