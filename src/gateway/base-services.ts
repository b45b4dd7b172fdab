/** What the gateways of every kind of model are built from: the base's names, its adapters, their activity, and the queue of texts. */

import type { Mixtures } from "../adapter/cache/mixtures.js";
import { type UploadLimits, Uploads } from "../adapter/upload/upload.js";
import { type Logger, silent } from "../base/log.js";
import { ActivityBook } from "./activity.js";
import { type AdapterHolder, Adapters, type CachePort, type StorePort } from "./adapters.js";
import { type BaseModel, Catalog } from "./catalog.js";
import { EncodeBudget } from "./encode-budget.js";
import { ObserverSet } from "./observer.js";
import type { GatewayOptions } from "./options.js";

export interface BaseParts {
  readonly engine: AdapterHolder["engine"];
  readonly store: StorePort;
  readonly cache: CachePort;
  /** Those that `cache` can load. */
  readonly mixtures: Pick<Mixtures, "hold">;
  readonly uploads?: Partial<UploadLimits>;
  readonly logger?: Logger;
}

export interface BaseServices {
  readonly catalog: Catalog;
  readonly activity: ActivityBook;
  readonly observer: ObserverSet;
  readonly encoding: EncodeBudget;
  readonly holder: AdapterHolder;
  readonly adapters: Adapters;
}

export function createBaseServices(
  { engine, store, cache, mixtures, uploads, logger = silent }: BaseParts,
  base: Omit<BaseModel, "createdAt">,
  options: GatewayOptions,
): BaseServices {
  const activity = new ActivityBook();
  const observer = new ObserverSet();
  const mixing = { mixtures, maxMixtures: options.maxMixtures };
  const holder = { cache, engine, activity, tasks: base.tasks };
  return {
    ...{ activity, observer, holder },
    catalog: new Catalog({ ...base, createdAt: Date.now() }, store, mixing, (digest) => cache.prefetch(digest)),
    encoding: new EncodeBudget(options.maxQueuedCharacters),
    adapters: new Adapters({
      ...{ store, observer, logger },
      holderOf: () => holder,
      baseNames: [base.names[0]],
      uploads: new Uploads(uploads),
      copyRoot: options.loraPathRoot,
    }),
  };
}
