/** The CPU as a device. */
import { cpu } from "../../../src/runtime/device/cpu.js";
import { deviceContract, turnContract } from "../../support/device-contract.js";

deviceContract("cpu", async () => cpu);
turnContract("cpu", async () => cpu);
