/** A process that stores records in a folder, says so, and waits to be killed. */
import { openLevelStore } from "../../src/records/level-store.js";

const store = await openLevelStore(process.argv[2] ?? "");
for (let id = 0; id < 20; id++) await store.put({ owner: "a", id: String(id) }, "x".repeat(1000));
process.send?.("stored");
setInterval(() => {}, 1000);
