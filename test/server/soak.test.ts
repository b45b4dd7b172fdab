/** A short soak in one process: mixed clients, many of which leave or stall. Everything is released. `npm run soak` is the long one. */
import assert from "node:assert/strict";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { packTar } from "../../src/adapter/upload/upload.js";
import { seededRandom, soakVisits, tarsOf } from "../../tools/soak/clients.js";
import { until } from "../support/rig.js";
import { adaptersFolder, bookworm, openService } from "../support/service.js";

test("a hundred mixed clients leak nothing, and every answer they get is right", async () => {
  await using folder = await adaptersFolder({ plays: "adapters/plays", dates: "adapters/dates" });
  const service = await openService({
    model: bookworm,
    adapters: folder.path,
    maxContext: "256",
    activeAdapterBytes: "12M",
    slowReaderTimeout: "1s",
    lingerTimeout: "100ms",
    maxUploadsPerAddress: "0",
  });
  try {
    const visit = soakVisits(
      {
        port: Number(new URL(service.url).port),
        models: ["bookworm-7m", "plays", "dates"],
        names: ["a", "b", "c"],
        freshTar: tarsOf(await buffer(packTar("adapters/plays"))),
      },
      seededRandom(3),
    );
    let left = 120;
    const worker = async (): Promise<void> => {
      while (left-- > 0) await visit();
    };
    await Promise.all(Array.from({ length: 16 }, worker));
    await until(() => service.server.connections === 0, "the end of all connections");
    await service.assertIdle();
    const sockets = await service.metrics.sockets.get();
    assert.equal(sockets.values[0]?.value, 0);
  } finally {
    await service[Symbol.asyncDispose]();
  }
});
