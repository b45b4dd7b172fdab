/** What a README's section on use says, for a reader who looks at a running server: the request first, and how to serve it elsewhere. */

export interface Usage {
  /** Markdown: what is asked of a server, and what is said of it. */
  readonly request: string;
  /** Markdown of the command that starts a server; null where there is none. */
  readonly serve: string | null;
}

/** Where the commands of cards start a server. */
export const usualAddress = "http://localhost:8080";

const isServe = (block: string): boolean => /^```\w*\s*\n(npx )?lorikeet serve\b/.test(block);
const isBetween = (block: string): boolean => /^In (a second|another) terminal:$/.test(block.trim());

/** `address`: of the server that the reader looks at. `name`: of the adapter there, which may have come under another; null: as the section says. */
export function usageOf(section: string, address: string, name: string | null = null): Usage {
  const blocks = section.split(/(^```[\s\S]*?^```[^\S\n]*$)/m).map((block) => block.trim());
  const asked = blocks.filter((block) => !isServe(block) && !isBetween(block));
  const serve = blocks.filter(isServe);
  const request = renamed(asked.join("\n\n").trim().replaceAll(usualAddress, address), name);
  return request === "" || serve.length === 0
    ? { request: section, serve: null }
    : { request, serve: serve.join("\n\n") };
}

const namedModel = /(\bmodel"?\s*[:=]\s*"|\/models\/)([^\s/"'`]+)/g;

/** Requests of one model ask `name`; those of several are left as they are. */
function renamed(request: string, name: string | null): string {
  const found = new Set([...request.matchAll(namedModel)].map(([, , model]) => model));
  if (name === null || found.size !== 1) return request;
  return request.replace(namedModel, (_, before: string) =>
    before.startsWith("/") ? before + encodeURIComponent(name) : before + name,
  );
}
