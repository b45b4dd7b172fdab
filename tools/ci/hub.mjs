// A hub on loopback for the documents' examples: serves models/bookworm-7m under the given names, prints its
// address, and exits when its stdin closes.
import { LoopbackHub, repositoryOf } from "../../dist/test/support/hub.js";

const model = repositoryOf("models/bookworm-7m");
const hub = await LoopbackHub.start(Object.fromEntries(process.argv.slice(2).map((name) => [name, model])));
console.log(hub.endpoint);
process.stdin.resume().once("end", () => process.exit(0));
