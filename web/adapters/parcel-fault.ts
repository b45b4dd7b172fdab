/** Why files cannot be an adapter, before they are sent. What looks like one is left to the server, which knows every fault. */

/** Where the files come from: a folder, with the folders in it, what could not be read, or the names of what came together. */
export type Origin =
  | { readonly kind: "files" }
  | { readonly kind: "folder"; readonly name: string; readonly inner: readonly string[] }
  | { readonly kind: "unread"; readonly name: string }
  | { readonly kind: "several"; readonly names: readonly string[] };

const allowed =
  "An adapter is a PEFT folder, its files (adapter_config.json and adapter_model.safetensors), or a tar of them.";
const ofAdapter = /^(adapter_config\.json|adapter_model\.\w+|adapters\.(safetensors|npz))$/;
const packed = /\.(zip|7z|rar|gz|bz2|xz|zst)$/i;
const mostNamed = 3;

export function parcelFault(files: readonly string[], from: Origin): string | null {
  const own = files.filter((name) => ofAdapter.test(name));
  const found = own.length === 0 ? foundOf(files, from) : halfOf(own);
  return found === null ? null : `${found} ${allowed}`;
}

export const configFile = "adapter_config.json";

/** What is missing beside one of an adapter's two files. */
function halfOf(own: readonly string[]): string | null {
  const [first = ""] = own;
  if (!own.includes(configFile)) return `Found ${first}, but ${configFile} is missing.`;
  return own.length === 1 ? `Found ${configFile}, but adapter_model.safetensors is missing.` : null;
}

function foundOf(files: readonly string[], from: Origin): string {
  if (from.kind === "several") return `Found ${listed(from.names)}; drop one folder alone.`;
  if (from.kind === "unread") return `${from.name} cannot be read.`;
  if (from.kind === "folder" && files.length === 0) {
    if (from.inner.length === 0) return `The folder ${from.name} is empty.`;
    return `The folder ${from.name} has no files of its own, only folders: ${listed(from.inner)}. Drop the one with the adapter.`;
  }
  const [file = ""] = files;
  if (files.length > 1) return `None of the ${files.length} files belongs to an adapter: ${listed(files)}.`;
  return packed.test(file) ? `${file} is not a tar: unpack it, and drop the folder.` : `${file} is not an adapter.`;
}

function listed(names: readonly string[]): string {
  const more = names.length - mostNamed;
  return names.slice(0, mostNamed).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
