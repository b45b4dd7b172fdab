/** Wires a service that listens: the stack of `serve`'s settings with its metrics and the server before it. */

import type { Logger, Progress } from "../base/log.js";
import { Metrics } from "../server/metrics.js";
import { createServer, type LorikeetServer } from "../server/server.js";
import type { ServeSettings } from "./options.js";
import { gatewayOptionsOf, serverOptionsOf, storeLimitsOf, uploadLimitsOf } from "./serve-options.js";
import { openStack, type Stack } from "./stack.js";

/** Disposing of it stops listening, ends the engine and closes everything below it. */
export interface Service extends AsyncDisposable {
  readonly stack: Stack;
  readonly server: LorikeetServer;
  /** Listens where the settings say, looks for adapters from now on, and resolves with the port. */
  listen(): Promise<number>;
}

/** Throws what `openStack` throws. */
export async function openService(settings: ServeSettings, logger: Logger, progress: Progress): Promise<Service> {
  const options = serverOptionsOf(settings);
  const metrics = new Metrics(options);
  const stack = await openStack({
    settings,
    servedName: settings.servedModelName,
    adapters: settings.adapters === null ? null : { directory: settings.adapters, limits: storeLimitsOf(settings) },
    gateway: gatewayOptionsOf(settings),
    uploads: uploadLimitsOf(settings),
    observer: metrics.engineObserver,
    logger,
    progress,
  }).catch((error: unknown) => {
    metrics.close();
    throw error;
  });
  const server = createServer({ gateway: stack.gateway, logger, options, metrics });
  return {
    stack,
    server,
    listen: async () => {
      const { port } = await server.listen(settings.host, settings.port);
      stack.adapters?.store.start();
      return port;
    },
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await stack[Symbol.asyncDispose]();
    },
  };
}
