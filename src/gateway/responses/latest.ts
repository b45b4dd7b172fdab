/** The latest response of one connection that was not stored: the connection may continue it nevertheless. */
import type { StoredResponse } from "./archive.js";

export class LatestResponse {
  #latest: StoredResponse | null = null;

  keep(latest: StoredResponse): void {
    this.#latest = latest;
  }

  find(id: string): StoredResponse | null {
    return this.#latest?.response.id === id ? this.#latest : null;
  }
}
