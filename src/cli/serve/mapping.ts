/** Maps the settings of `serve` to the options of server, gateway and adapters. The compiler checks that none is missing. */

import type { AdapterLimits } from "../../adapter/format.js";
import type { StoreLimits } from "../../adapter/store/store.js";
import type { UploadLimits } from "../../adapter/upload/upload.js";
import type { ValidationLimits } from "../../adapter/worker/validator.js";
import type { GatewayOptions } from "../../gateway/options.js";
import type { ResponsesOptions } from "../../gateway/responses/responses.js";
import type { ImageLimits } from "../../image/preprocessor.js";
import type { JobBounds } from "../../jobs/bounds.js";
import type { FileBounds } from "../../jobs/file-store.js";
import type { RecordBounds } from "../../records/store.js";
import { type ServerOptions, serverDefaults } from "../../server/options.js";
import type { BaseSettings, ServeSettings } from "./options.js";
import { privateFoldersOf } from "./private-folders.js";

export function storeLimitsOf(settings: ServeSettings): StoreLimits {
  return {
    totalBytes: settings.maxStoreBytes,
    maxNames: settings.maxAdapters,
    scanMs: settings.scanInterval,
    lockWaitMs: settings.lockTimeout,
  };
}

export function validationOf(settings: ServeSettings): ValidationLimits & { readonly adapterLimits: AdapterLimits } {
  return {
    timeoutMs: settings.validationTimeout,
    maxWaiting: settings.maxValidations,
    adapterLimits: {
      maxConfigBytes: settings.maxAdapterConfigBytes,
      maxHeaderBytes: settings.maxAdapterHeaderBytes,
      maxTensors: settings.maxAdapterTensors,
      maxRank: settings.maxAdapterRank,
      maxPatternSize: settings.maxPatternSize,
    },
  };
}

export function uploadLimitsOf(settings: ServeSettings): UploadLimits {
  return {
    receivedBytes: settings.maxUploadBytes,
    unpackedBytes: settings.maxUnpackedBytes,
    entries: settings.maxUploadEntries,
    depth: settings.maxUploadDepth,
    idleMs: settings.uploadIdleTimeout,
    minRate: settings.minUploadRate,
    rateWindowMs: settings.uploadRateWindow,
    totalMs: settings.uploadTimeout,
    atOnce: settings.maxUploads,
    perClient: settings.maxUploadsPerAddress,
  };
}

export function gatewayOptionsOf(settings: BaseSettings): GatewayOptions {
  return {
    ...settings,
    queueTimeoutMs: settings.queueTimeout,
    requestTimeoutMs: settings.requestTimeout,
    grammarTimeoutMs: settings.grammarTimeout,
  };
}

export const imageLimitsOf = (settings: ServeSettings): ImageLimits => ({
  maxPixels: settings.maxImagePixels,
  maxPending: settings.maxImageQueue,
});

export function recordBoundsOf(settings: ServeSettings): RecordBounds {
  return {
    maxRecords: settings.maxResponses,
    maxBytes: settings.maxResponseBytes,
    maxAgeMs: settings.responseTtl,
  };
}

export function fileBoundsOf(settings: ServeSettings): FileBounds {
  const { maxFiles, maxTotalFileBytes } = settings;
  return { maxFiles, maxTotalFileBytes, fileTtlMs: settings.fileTtl };
}

export function jobBoundsOf(settings: ServeSettings): JobBounds {
  const { maxTrainingJobs, maxTrainingQueue, maxJobs, pauseTrainingAt } = settings;
  const bounds = { maxTrainingJobs, maxTrainingQueue, maxJobs, pauseTrainingAt };
  return { ...bounds, jobTtlMs: settings.jobTtl, stopMs: settings.drainTimeout };
}

export function serverOptionsOf(
  settings: ServeSettings,
  bases: readonly BaseSettings[],
): ServerOptions & ResponsesOptions {
  return {
    ...settings,
    privateFolders: privateFoldersOf(settings, bases),
    // The host to listen on is a valid name of the server.
    allowedHosts: [...(settings.allowedHosts ?? serverDefaults.allowedHosts), settings.host],
    allowedOrigins: settings.allowedOrigins ?? serverDefaults.allowedOrigins,
    trustedProxies: settings.trustedProxies ?? serverDefaults.trustedProxies,
    bodyTimeoutMs: settings.bodyTimeout,
    headersTimeoutMs: settings.headersTimeout,
    keepAliveTimeoutMs: settings.keepAliveTimeout,
    streamKeepAliveIntervalMs: settings.streamKeepAliveInterval,
    slowReaderTimeoutMs: settings.slowReaderTimeout,
    slowReaderSlotTimeoutMs: settings.slowReaderSlotTimeout,
    lingerTimeoutMs: settings.lingerTimeout,
    pingIntervalMs: settings.pingInterval,
  };
}
