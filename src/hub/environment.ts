/** Reads the hub's address, token and cache folder from the environment variables of Python's `huggingface_hub`. */

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { LorikeetError } from "../base/errors.js";

export type Variables = Readonly<Record<string, string | undefined>>;

export interface HubEnvironment {
  /** Without a trailing slash. */
  readonly endpoint: string;
  /** The folder that contains `models--owner--name`. */
  readonly cache: string;
  readonly isOffline: boolean;
  /** How long the hub may take to start a response. */
  readonly answerTimeoutMs: number;
  /** How long a transfer may go without a byte. */
  readonly stallTimeoutMs: number;
  /** Reads the token when it is needed; null if there is none. Throws `invalid_config`. */
  readToken(): Promise<string | null>;
}

const defaultEndpoint = "https://huggingface.co";
const defaultTimeoutSeconds = 10;
const maxTokenBytes = 4096;

/** Variables whose value is the token itself. */
export const tokenVariables = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] as const;

/** Throws `invalid_config` for an endpoint that is not an http address. */
export function readHubEnvironment(variables: Variables): HubEnvironment {
  const folder = (value: string): string => resolve(expand(value, variables));
  const given = (name: string): string | null => variables[name] || null;
  const home = folder(given("HF_HOME") ?? join(given("XDG_CACHE_HOME") ?? "~/.cache", "huggingface"));
  const cache = given("HF_HUB_CACHE") ?? given("HUGGINGFACE_HUB_CACHE");
  const tokenPath = given("HF_TOKEN_PATH");
  return {
    endpoint: parseEndpoint(given("HF_ENDPOINT") ?? defaultEndpoint),
    cache: cache === null ? join(home, "hub") : folder(cache),
    isOffline: isTrue(given("HF_HUB_OFFLINE") ?? given("TRANSFORMERS_OFFLINE")),
    answerTimeoutMs: milliseconds(given("HF_HUB_ETAG_TIMEOUT")),
    stallTimeoutMs: milliseconds(given("HF_HUB_DOWNLOAD_TIMEOUT")),
    async readToken() {
      if (isTrue(given("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return null;
      for (const name of tokenVariables) {
        const token = cleanToken(variables[name] ?? "", name);
        if (token !== null) return token;
      }
      return await tokenOf(tokenPath === null ? join(home, "token") : folder(tokenPath));
    },
  };
}

/** Expands `$VARIABLE` and `~` as Python does. */
function expand(path: string, variables: Variables): string {
  const filled = path.replace(/\$(?:\{(\w+)\}|(\w+))/g, (whole, braced, bare) => variables[braced ?? bare] ?? whole);
  return filled === "~" || filled.startsWith("~/") ? join(variables.HOME || homedir(), filled.slice(1)) : filled;
}

const isTrue = (value: string | null): boolean => /^(1|on|yes|true)$/i.test(value ?? "");

function milliseconds(seconds: string | null): number {
  const value = Number(seconds ?? defaultTimeoutSeconds);
  return (value > 0 && value <= 86_400 ? value : defaultTimeoutSeconds) * 1000;
}

function parseEndpoint(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : null;
  const isHttp = url?.protocol === "http:" || url?.protocol === "https:";
  // The message does not show the value, which may contain a password.
  if (url === null || !isHttp || url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    const allowed = "an http or https address without a user name, such as https://hub.example";
    throw new LorikeetError("invalid_config", `HF_ENDPOINT must be ${allowed}.`, { param: "HF_ENDPOINT", allowed });
  }
  return url.href.replace(/\/+$/, "");
}

async function tokenOf(path: string): Promise<string | null> {
  const content = await readFile(path).catch(() => null);
  if (content === null || content.length > maxTokenBytes) return null;
  return cleanToken(content.toString("utf8"), path);
}

/** Error messages never show the token. */
function cleanToken(value: string, source: string): string | null {
  const token = value.trim();
  if (token === "") return null;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  const message = `The token in ${source} has a character that an HTTP header cannot carry: copy it exactly as the hub shows it.`;
  throw new LorikeetError("invalid_config", message, { param: source });
}
