/** The CPU as a device. */
import { cpu } from "../../../src/runtime/device/cpu.js";
import type { Device } from "../../../src/runtime/device/device.js";
import { ViewedRows } from "../../../src/runtime/device/viewed-rows.js";
import { deviceContract, turnContract } from "../../support/device-contract.js";

deviceContract("cpu", async () => cpu);
turnContract("cpu", async () => cpu);

/** Rows whose views begin anywhere, as on CUDA: the CPU's memory shows that they move the right ones. */
const viewed: Device = Object.create(cpu, { rows: { value: (count: number) => new ViewedRows(viewed, count) } });
deviceContract("rows as views", async () => viewed);
