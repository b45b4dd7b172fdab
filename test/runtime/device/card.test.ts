/** What all cards share, on a card that only takes turns. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LorikeetError } from "../../../src/base/errors.js";
import { Card } from "../../../src/runtime/device/card.js";
import { cpu } from "../../../src/runtime/device/cpu.js";
import type { DeviceRows, ExecutionProvider } from "../../../src/runtime/device/device.js";

class IdleCard extends Card {
  readonly kind = "webgpu";
  readonly capabilities = { ...cpu.capabilities, hostMemory: false };
  readonly provider: ExecutionProvider = { name: "WebGPU", options: {}, int64: {} };

  constructor() {
    super({ name: "Card A", software: false, memoryBytes: null, maxTurnMs: 5000 }, { info: 0n, offsetViews: false });
  }

  protected async open(): Promise<bigint> {
    return 0n;
  }
  protected close(): void {}
  protected prepare(): void {}
  rows(count: number): DeviceRows {
    return cpu.rows(count);
  }
}

test("a turn that does not end in time loses the card, once and for all who wait", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const card = new IdleCard();
  const told: LorikeetError[] = [];
  card.onLost((error) => told.push(error));
  const hung = assert.rejects(
    card.turn(() => new Promise(() => {})),
    { code: "device_lost", message: /Card A was lost: it did not answer within 5000 ms \(--device-timeout\)\.$/ },
  );
  const waiting = assert.rejects(
    card.turn(async () => 1),
    { code: "device_lost" },
  );
  t.mock.timers.tick(4999);
  assert.equal(told.length, 0);
  t.mock.timers.tick(1);
  await Promise.all([hung, waiting]);
  assert.equal(told.length, 1);
});

test("turns that end in time are not affected, whatever comes later", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const card = new IdleCard();
  assert.equal(await card.turn(async () => 1), 1);
  await assert.rejects(
    card.turn(() => Promise.reject(new Error("no"))),
    /no/,
  );
  t.mock.timers.tick(100_000);
  assert.equal(await card.turn(async () => 2), 2);
});
