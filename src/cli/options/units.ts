/** Parsers of option values, and formats of the same values for help and tables. */
import { isIP } from "node:net";

/** Parses the text of an option. Throws an Error that says what is allowed: "must be ...". */
export type Parser<T> = (text: string) => T;

const sizeUnits: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1024,
  kb: 1024,
  kib: 1024,
  m: 1024 ** 2,
  mb: 1024 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1024 ** 3,
  gib: 1024 ** 3,
  t: 1024 ** 4,
  tb: 1024 ** 4,
  tib: 1024 ** 4,
};

const day = 86_400_000;
const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: day };

/** A whole number in [min, max]. */
export function integer(min: number, max = Number.MAX_SAFE_INTEGER): Parser<number> {
  const range =
    max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`;
  return (text) => {
    const value = /^[+-]?\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw new Error(`must be ${range}`);
    return value;
  };
}

/** A number in [min, max]. */
export function decimal(min: number, max: number): Parser<number> {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (!(value >= min && value <= max)) throw new Error(`must be a number from ${min} to ${max}`);
    return value;
  };
}

/** Bytes: `1048576`, `512M`, `2GiB`. K, M, G and T are powers of 1024, with or without the i. */
export function bytes(min = 1): Parser<number> {
  return (text) => {
    const found = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
    const unit = sizeUnits[found?.[2]?.toLowerCase() ?? "?"];
    const value = Math.round(Number(found?.[1]) * (unit ?? Number.NaN));
    if (!(value >= min && value <= Number.MAX_SAFE_INTEGER)) {
      throw new Error(`must be a size of at least ${formatBytes(min)}, such as 1048576, 512M or 2GiB`);
    }
    return value;
  };
}

/** The longest time that a timer of Node's waits: a signed 32-bit number of milliseconds. Longer ones fire at once. */
const longestTimer = 2 ** 31 - 1;

/** Milliseconds: `500ms`, `60s`, `5m`; a number without a unit is in `bareUnit`. What no timer waits for may be longer than one can. */
export function duration(bareUnit: "ms" | "s", minMs = 1, maxMs = longestTimer): Parser<number> {
  return (text) => {
    const found = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
    const unit = durationUnits[found?.[2]?.toLowerCase() || bareUnit];
    const value = Math.round(Number(found?.[1]) * (unit ?? Number.NaN));
    if (!(value >= minMs && value <= maxMs)) {
      const most = `${Math.floor(maxMs / day)} days`;
      throw new Error(`must be a time from ${formatDuration(minMs)} to ${most}, such as 500ms, 30s or 5m`);
    }
    return value;
  };
}

/** `sha256:` and 64 hex digits. */
export const digest: Parser<string> = (text) => {
  const value = text.trim().toLowerCase();
  if (/^sha256:[0-9a-f]{64}$/.test(value)) return value;
  throw new Error("must be sha256: and 64 hex digits");
};

export function oneOf<const T extends string>(...choices: readonly T[]): Parser<T> {
  return (text) => {
    const found = choices.find((choice) => choice === text);
    if (found === undefined) throw new Error(`must be one of ${choices.join(", ")}`);
    return found;
  };
}

/** Any text that is not empty. */
export const text: Parser<string> = (value) => {
  if (value.trim() === "") throw new Error("must not be empty");
  return value;
};

/** Words separated by commas: `q_proj,v_proj`. */
export const list: Parser<readonly string[]> = (value) => {
  const words = value
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
  if (words.length === 0) throw new Error("must be one or more words separated by commas");
  return words;
};

/** Words separated by commas, each of which counts: a missing one is a fault. */
export const names: Parser<readonly string[]> = (value) => {
  const missing = value.split(",").findIndex((word) => word.trim() === "");
  if (missing >= 0) throw new Error(`must be words separated by commas; number ${missing + 1} is empty`);
  return list(value);
};

/** Origins of web pages as browsers spell them, separated by commas: `https://chat.example,http://10.0.0.5:3000`. */
export const origins: Parser<readonly string[]> = (value) =>
  list(value).map((origin) => {
    if (origin === "*" || origin === "null") return origin;
    if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#@*\s]+\/?$/i.test(origin) || !URL.canParse(origin)) {
      throw new Error("must be origins such as https://chat.example, separated by commas, or *");
    }
    const { protocol, host } = new URL(origin);
    return `${protocol}//${host}`;
  });

/** Addresses and networks separated by commas: `10.0.0.0/8,::1`. */
export const networks: Parser<readonly string[]> = (value) =>
  list(value).map((network) => {
    const [address = "", bits, more] = network.split("/");
    const widest = isIP(address) === 6 ? 128 : 32;
    const isWhole = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= widest);
    if (isIP(address) === 0 || !isWhole || more !== undefined || address.includes("%")) {
      throw new Error("must be addresses or networks such as 10.0.0.0/8 or ::1, separated by commas");
    }
    return network;
  });

/** Host names without ports, separated by commas: `lorikeet.example,*.svc.cluster.local`. */
export const hosts: Parser<readonly string[]> = (value) =>
  list(value).map((name) => {
    if (name === "*" || /^(\*\.)?[\p{L}\p{N}_-]+(\.[\p{L}\p{N}_-]+)*\.?$/u.test(name)) return name.toLowerCase();
    throw new Error("must be host names without ports, such as chat.example or *.example, separated by commas, or *");
  });

/** The address of a server: `http://127.0.0.1:8080`. */
export const address: Parser<string> = (value) => {
  const port = /^https?:\/\/[^/?#]*:(\d+)(?:[/?#]|$)/i.exec(value)?.[1];
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) {
    throw new Error("must be an address with a port from 1 to 65535");
  }
  const url = URL.canParse(value) ? new URL(value) : null;
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    throw new Error("must be an address such as http://127.0.0.1:8080");
  }
  if (url.username === "" && url.password === "") return value;
  throw new Error("must be an address without user name and password; API keys go into --api-key-file");
};

export const flag: Parser<boolean> = (value) => {
  const lower = value.toLowerCase();
  if (["true", "1", "yes", "on"].includes(lower)) return true;
  if (["false", "0", "no", "off"].includes(lower)) return false;
  throw new Error("must be true or false");
};

/** `1536` → "1.5 KiB". */
export function formatBytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  let size = value;
  while (size >= 1024 && power < units.length - 1) {
    size /= 1024;
    power++;
  }
  const shown = Number.isInteger(size) || size >= 100 ? size.toFixed(0) : size.toFixed(1).replace(/\.0$/, "");
  return `${shown} ${units[power]}`;
}

/** `90000` → "90 s"; whole days are "30 d". */
export function formatDuration(ms: number): string {
  if (ms > 0 && ms % day === 0) return `${ms / day} d`;
  if (ms < 1000) return `${ms} ms`;
  return `${Number((ms / 1000).toFixed(1))} s`;
}

/** `7300000` → "7.3 M". */
export function formatCount(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} B`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1).replace(/\.0$/, "")} M`;
  return value.toLocaleString("en-US");
}
