/** Every bound of the transport: one named option each, with its default. */

export interface ServerOptions {
  /** Bytes of a JSON body. Small enough that parsing it never holds the event loop for long. */
  readonly maxBodyBytes: number;
  /** How long a JSON body may take to arrive. */
  readonly bodyTimeoutMs: number;
  readonly maxHeaderBytes: number;
  readonly headersTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly maxConnections: number;
  /** 0: no limit. */
  readonly maxConnectionsPerAddress: number;
  /** Connections past a limit that are open at once, to be told so. */
  readonly reservedConnections: number;
  /** Requests that wait on one connection behind the one that runs. */
  readonly maxPipelined: number;
  /** Origins whose pages may use the server, beside those of this machine and its own; `*` is every page. */
  readonly allowedOrigins: readonly string[];
  /** Names by which the server may be asked, beside addresses, localhost and this machine's; `*` is every name. */
  readonly allowedHosts: readonly string[];
  /** Folders of this machine that no answer may name. */
  readonly privateFolders: readonly string[];
  /** Addresses and networks of proxies whose `X-Forwarded-For` counts. */
  readonly trustedProxies: readonly string[];
  /** Bytes that wait for a stream's reader before its generation is paused. */
  readonly streamBufferBytes: number;
  /** A comment line keeps an idle stream's connection alive this often. */
  readonly streamKeepAliveIntervalMs: number;
  /** A reader that takes nothing for so long is ended. */
  readonly slowReaderTimeoutMs: number;
  /** Bytes a second that a reader which is behind must take, over each `slowReaderTimeoutMs`; 0: any byte will do. */
  readonly minReadRate: number;
  /** How long a reader that is behind keeps its slot while others wait for one. */
  readonly slowReaderSlotTimeoutMs: number;
  /** How long a refused upload's connection stays to let its answer be read. */
  readonly lingerTimeoutMs: number;
  readonly maxSockets: number;
  readonly maxSocketRequests: number;
  readonly maxFrameBytes: number;
  /** Bytes that wait for a socket's reader before its generations are paused. */
  readonly socketPauseBytes: number;
  /** Bytes that wait for a socket's reader before it is closed (1013). */
  readonly socketCloseBytes: number;
  readonly pingIntervalMs: number;
  /** Adapters with a label of their own in the metrics; the rest are `other`. */
  readonly maxAdapterLabels: number;
  /** Writes bodies of requests, prompts included, to the log. */
  readonly logPrompts: boolean;
}

export const serverDefaults: ServerOptions = {
  maxBodyBytes: 2 * 2 ** 20,
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
};
