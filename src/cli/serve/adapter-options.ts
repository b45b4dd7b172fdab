/** Options of `serve` about adapters: their folder, uploads, and what one may be. */

import { adapterLimits } from "../../adapter/format.js";
import { storeDefaults } from "../../adapter/store/store.js";
import { uploadDefaults } from "../../adapter/upload/upload.js";
import { validationDefaults } from "../../adapter/worker/validator.js";
import { count, given, type OptionTable, open, size, time } from "../options/option.js";
import { bytes, flag, formatBytes, text } from "../options/units.js";

export const adapterOptions = {
  adapters: open("Adapters", "none", {
    placeholder: "folder",
    parse: text,
    help: "adapters folder: holds your own PEFT folders and the store for uploads",
  }),
  noModelAdapters: given("Adapters", false, {
    parse: flag,
    help: "do not serve the adapters in the folder `adapters` of a model's own folder",
  }),
  loraPathRoot: open("Adapters", "off", {
    placeholder: "folder",
    parse: text,
    help: "folder that holds every lora_path of POST /v1/load_lora_adapter",
  }),
  maxStoreBytes: size(
    "Adapters",
    storeDefaults.totalBytes,
    "total size of stored adapters; beyond it, uploads get 507",
  ),
  maxAdapters: count("Adapters", storeDefaults.maxNames, 1, "stored adapters"),
  scanInterval: time(
    "Adapters",
    storeDefaults.scanMs,
    "how often the adapters folder is scanned for folders that operators added",
  ),
  lockTimeout: time(
    "Adapters",
    storeDefaults.lockWaitMs,
    "how long a write to the store waits for another process that is writing",
  ),
  maxUploadBytes: size("Adapters", uploadDefaults.receivedBytes, "maximum size of an upload as received"),
  maxUnpackedBytes: size("Adapters", uploadDefaults.unpackedBytes, "maximum size of an upload after unpacking"),
  maxUploadEntries: count("Adapters", uploadDefaults.entries, 1, "entries of an uploaded tar"),
  maxUploadDepth: count("Adapters", uploadDefaults.depth, 1, "depth of paths in an uploaded tar"),
  maxUploads: count("Adapters", uploadDefaults.atOnce, 1, "uploads at once; further ones get 429"),
  maxUploadsPerAddress: count(
    "Adapters",
    uploadDefaults.perClient,
    0,
    "uploads at once per client address; further ones get 429; 0 means no limit",
  ),
  uploadIdleTimeout: time("Adapters", uploadDefaults.idleMs, "how long an upload may send nothing"),
  minUploadRate: given("Adapters", uploadDefaults.minRate, {
    placeholder: "size",
    parse: bytes(0),
    shown: formatBytes(uploadDefaults.minRate),
    help: "bytes per second that an upload must send, measured over each --upload-rate-window; 0 means no limit",
  }),
  uploadRateWindow: time("Adapters", uploadDefaults.rateWindowMs, "time over which --min-upload-rate is measured"),
  uploadTimeout: time("Adapters", uploadDefaults.totalMs, "how long an upload may take in total"),
  validationTimeout: time("Adapters", validationDefaults.timeoutMs, "how long the check of an adapter may take"),
  maxValidations: count(
    "Adapters",
    validationDefaults.maxWaiting,
    0,
    "uploads that may wait for their check; further ones get 429",
  ),
  maxAdapterRank: count("Adapters", adapterLimits.maxRank, 1, "rank of an adapter"),
  maxAdapterTensors: count("Adapters", adapterLimits.maxTensors, 1, "tensors of an adapter"),
  maxAdapterHeaderBytes: size("Adapters", adapterLimits.maxHeaderBytes, "size of the header of an adapter's weights"),
  maxAdapterConfigBytes: size("Adapters", adapterLimits.maxConfigBytes, "size of adapter_config.json"),
  maxPatternSize: count(
    "Adapters",
    adapterLimits.maxPatternSize,
    0,
    "compiled size of all regular expressions in an adapter's config, in instructions",
  ),
} as const satisfies OptionTable;
