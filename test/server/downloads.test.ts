/** Incomplete downloads: readers that leave or stop reading, files that change meanwhile. None of them ends the server. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { describe, test } from "node:test";
import { packTar } from "../../src/adapter/upload/upload.js";
import { openServerRig, type ServerRig, until } from "../support/rig.js";

const weightsBytes = 24 * 2 ** 20;

/** A rig that serves a large adapter from a folder that was put in by hand, and that folder. */
async function withFolder(server = {}): Promise<{ rig: ServerRig; folder: string }> {
  const rig = await openServerRig({ server });
  const folder = join(rig.adapters.directory, "byhand");
  await mkdir(folder);
  await writeFile(join(folder, "adapter_config.json"), "{}");
  await writeFile(join(folder, "adapter_model.safetensors"), Buffer.alloc(weightsBytes, "w"));
  for (let scans = 0; scans < 2; scans++) await rig.adapters.store.scan();
  return { rig, folder };
}

function ask(rig: ServerRig): Socket {
  const { hostname, port } = new URL(rig.url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  socket.write("GET /v1/adapters/byhand/download HTTP/1.1\r\nhost: localhost\r\n\r\n");
  return socket;
}

const isAlive = async (rig: ServerRig): Promise<boolean> => (await fetch(`${rig.url}/health`)).ok;
const isLogged = (rig: ServerRig, pattern: RegExp): boolean =>
  rig.lines.some(({ fields }) => pattern.test(String(fields.err)));

describe("readers", () => {
  test("a reader that disconnects at any byte ends only its own download", async () => {
    const { rig } = await withFolder();
    await using _closing = rig;
    for (const bytes of [0, 1, 700, 100_000, 1_000_000]) {
      const socket = ask(rig);
      let received = 0;
      socket.on("data", (chunk) => {
        received += chunk.length;
        if (received >= bytes) socket.destroy();
      });
      if (bytes === 0) socket.destroy();
      await once(socket, "close");
    }
    await until(() => rig.lines.filter(({ fields }) => fields.left === true).length >= 4, "their access lines");
    assert.ok(await isAlive(rig));
  });

  test("a reader that stops is cut off after the slow reader timeout", async () => {
    const { rig } = await withFolder({ slowReaderTimeoutMs: 50 });
    await using _closing = rig;
    const socket = ask(rig);
    socket.pause();
    await until(() => rig.lines.some(({ fields }) => fields.code === "timeout"), "its access line");
    socket.resume();
    await once(socket, "close");
  });

  test("HEAD reads no file contents", async () => {
    const { rig } = await withFolder();
    await using _closing = rig;
    const response = await fetch(`${rig.url}/v1/adapters/byhand/download`, { method: "HEAD" });
    assert.deepEqual([response.status, response.headers.get("content-type")], [200, "application/x-tar"]);
  });
});

describe("files", () => {
  test("a file that shrinks while it is sent closes the connection, and the log says why", async () => {
    const { rig, folder } = await withFolder();
    await using _closing = rig;
    const socket = ask(rig);
    socket.on("data", () => {});
    await until(() => socket.bytesRead > 2 ** 20, "the beginning of the weights");
    socket.pause();
    await truncate(join(folder, "adapter_model.safetensors"), 1000);
    socket.resume();
    await once(socket, "close");
    await until(() => isLogged(rig, /adapter_model\.safetensors is \d+ bytes shorter/), "the log line");
    assert.ok(await isAlive(rig));
  });

  test("a file that grows while it is sent is sent at its first length", async () => {
    const { rig, folder } = await withFolder();
    await using _closing = rig;
    const packing = packTar(folder);
    const head = await packing.next();
    await writeFile(join(folder, "adapter_config.json"), '{"longer":true}');
    const rest = await buffer(packing);
    assert.equal((Buffer.concat([head.value ?? Buffer.alloc(0), rest]).length - weightsBytes) % 512, 0);
    assert.equal(rest.subarray(0, 2).toString(), '{"');
  });

  test("a folder or a dangling link with a companion file's name is skipped", async () => {
    const { rig, folder } = await withFolder();
    await using _closing = rig;
    const whole = await buffer(packTar(folder));
    await mkdir(join(folder, "README.md"));
    await symlink("/nowhere", join(folder, "chat_template.jinja"));
    const response = await fetch(`${rig.url}/v1/adapters/byhand/download`);
    assert.equal(response.status, 200);
    assert.ok(whole.equals(Buffer.from(await response.arrayBuffer())));
  });

  test("a folder in the place of the config is a 500 that names no path, before anything is sent", async () => {
    const { rig, folder } = await withFolder();
    await using _closing = rig;
    await rm(join(folder, "adapter_config.json"));
    await mkdir(join(folder, "adapter_config.json"));
    const response = await fetch(`${rig.url}/v1/adapters/byhand/download`);
    assert.equal(response.status, 500);
    assert.ok(!(await response.text()).includes(rig.adapters.directory));
  });

  test("a tar of the folder holds the files' bytes and times, as other programs read them", async () => {
    const { rig, folder } = await withFolder();
    await using _closing = rig;
    const tar = await buffer(packTar(folder));
    const header = tar.subarray(0, 512);
    assert.equal(header.toString("latin1", 0, 20).replaceAll("\0", ""), "adapter_config.json");
    assert.equal(header.toString("latin1", 257, 265), "ustar\u000000");
    const summed = Buffer.from(header).fill(" ", 148, 156);
    assert.equal(
      Number.parseInt(header.toString("latin1", 148, 154), 8),
      summed.reduce((sum, byte) => sum + byte, 0),
    );
    assert.ok(tar.subarray(512, 514).equals(await readFile(join(folder, "adapter_config.json"))));
  });
});
