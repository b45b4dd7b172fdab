/** The program that acts by a served policy waits for a server that loads, and says in a line what a server refuses. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { WebSocketServer } from "ws";
import { connectPolicy } from "../../tools/recipes/bases/policy-client.js";

const patience = { forMs: 2000, everyMs: 1 };
const fault = (code: string, message: string): string => JSON.stringify({ error: { message, code } });

async function listen(server: Server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = async () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, [Symbol.asyncDispose]: stop };
}

/** A server that refuses some connections and some requests, then closes connections. */
async function refusing(loading: number, replies: readonly string[]) {
  const sockets = new WebSocketServer({ noServer: true });
  const left = [...replies];
  const server = createServer();
  let refused = 0;
  server.on("upgrade", (req, socket, head) => {
    if (refused++ < loading) {
      socket.end(
        `HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n${fault("not_ready", "The model loads.")}`,
      );
      return;
    }
    sockets.handleUpgrade(req, socket, head, (client) => {
      client.on("message", () => {
        const reply = left.shift();
        if (reply === undefined) client.close();
        else client.send(reply);
      });
    });
  });
  return { ...(await listen(server)), refusals: () => refused };
}

test("a policy's client waits while the server loads, and gives up with the server's own words", async () => {
  await using server = await refusing(3, [
    fault("not_ready", "The model loads."),
    fault("model_not_found", "No such model."),
  ]);
  {
    await using client = await connectPolicy(server.url, patience);
    assert.equal(server.refusals(), 4);
    await assert.rejects(client.ask("policy", [[0, 0, 0, 0]]), { message: "The server refuses: No such model." });
    await assert.rejects(client.ask("policy", [[0, 0, 0, 0]]), { message: "The server closed the connection." });
  }
  await using never = await refusing(1e9, []);
  const words = /^http:.* refuses the connection: The model loads\.$/;
  await assert.rejects(connectPolicy(never.url, { forMs: 20, everyMs: 5 }), ({ message }: Error) =>
    words.test(message),
  );
  const { url } = await (async () => {
    await using gone = await listen(createServer());
    return gone;
  })();
  await assert.rejects(
    connectPolicy(url, patience),
    /does not answer \(.*ECONNREFUSED.*\): start the server, or give its address/,
  );
});
