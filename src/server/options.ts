/** Limits of the HTTP and WebSocket server, with their defaults. */

export interface ServerOptions {
  /** Bytes of a JSON body. Small enough that parsing never blocks the event loop for long. */
  readonly maxBodyBytes: number;
  /** Bytes of a picture. */
  readonly maxImageBytes: number;
  /** Bytes of the binary tensors of a request. */
  readonly maxTensorBytes: number;
  /** How long a JSON body or a picture may take to arrive. */
  readonly bodyTimeoutMs: number;
  readonly maxHeaderBytes: number;
  readonly headersTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly maxConnections: number;
  /** 0: no limit. */
  readonly maxConnectionsPerAddress: number;
  /** Connections beyond a limit that are kept open just to send the refusal. */
  readonly reservedConnections: number;
  /** Pipelined requests that may wait on a connection. */
  readonly maxPipelined: number;
  /** Origins of pages that may use the server, besides its own and those of this machine; `*` allows all. */
  readonly allowedOrigins: readonly string[];
  /** Host names that clients may use, besides addresses, localhost and this machine's name; `*` allows all. */
  readonly allowedHosts: readonly string[];
  /** Folders whose paths must not appear in responses. */
  readonly privateFolders: readonly string[];
  /** Addresses and networks of proxies whose `X-Forwarded-For` is trusted. */
  readonly trustedProxies: readonly string[];
  /** Unsent bytes of a stream at which its generation pauses. */
  readonly streamBufferBytes: number;
  /** How often an idle stream sends a comment line. */
  readonly streamKeepAliveIntervalMs: number;
  /** How long a client may read nothing before its request ends. */
  readonly slowReaderTimeoutMs: number;
  /** Bytes per second that a lagging client must read, measured over each `slowReaderTimeoutMs`; 0: any byte will do. */
  readonly minReadRate: number;
  /** How long the stream of a lagging client keeps its slot while others wait for one. */
  readonly slowReaderSlotTimeoutMs: number;
  /** How long the connection of a refused upload stays open for its response to be read. */
  readonly lingerTimeoutMs: number;
  readonly maxSockets: number;
  readonly maxSocketRequests: number;
  readonly maxFrameBytes: number;
  /** Unsent bytes of a WebSocket at which its generations pause. */
  readonly socketPauseBytes: number;
  /** Unsent bytes of a WebSocket at which it is closed (1013). */
  readonly socketCloseBytes: number;
  readonly pingIntervalMs: number;
  /** Adapters with their own label in the metrics; the rest share `other`. */
  readonly maxAdapterLabels: number;
  /** Logs request bodies, including prompts. */
  readonly logPrompts: boolean;
  /** Serves no page at `/`. */
  readonly noUi: boolean;
}

export const serverDefaults: ServerOptions = {
  maxBodyBytes: 2 * 2 ** 20,
  maxImageBytes: 16 * 2 ** 20,
  maxTensorBytes: 16 * 2 ** 20,
  bodyTimeoutMs: 30_000,
  maxHeaderBytes: 16 * 1024,
  headersTimeoutMs: 30_000,
  keepAliveTimeoutMs: 65_000,
  maxConnections: 1024,
  maxConnectionsPerAddress: 512,
  reservedConnections: 64,
  maxPipelined: 512,
  allowedOrigins: [],
  allowedHosts: [],
  privateFolders: [],
  trustedProxies: [],
  streamBufferBytes: 64 * 1024,
  streamKeepAliveIntervalMs: 15_000,
  slowReaderTimeoutMs: 30_000,
  minReadRate: 16 * 1024,
  slowReaderSlotTimeoutMs: 5_000,
  lingerTimeoutMs: 2_000,
  maxSockets: 256,
  maxSocketRequests: 32,
  maxFrameBytes: 2 * 2 ** 20,
  socketPauseBytes: 256 * 1024,
  socketCloseBytes: 4 * 2 ** 20,
  pingIntervalMs: 30_000,
  maxAdapterLabels: 64,
  logPrompts: false,
  noUi: false,
};
