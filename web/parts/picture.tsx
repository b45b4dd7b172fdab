/** Pictures of examples. They come as `data:` URLs, which the page's policy lets no element load, and are shown and sent as blobs. */
import { useEffect, useRef } from "preact/hooks";

/** `url`: `data:TYPE;base64,...`, as the server writes it. */
export function blobOf(url: string): Blob {
  const [head = "", content = ""] = url.split(",", 2);
  const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
  return new Blob([bytes], { type: head.slice("data:".length).replace(/;.*$/, "") });
}

interface PictureProps {
  readonly url?: string;
  readonly blob?: Blob;
  /** Default: it says nothing that the text beside it does not. */
  readonly label?: string;
}

/** A small picture, of a `data:` URL or of a blob. */
export function Picture({ url, blob, label = "" }: PictureProps) {
  const image = useRef<HTMLImageElement>(null);
  useEffect(() => {
    const shown = blob ?? (url === undefined ? null : blobOf(url));
    if (!shown || !image.current) return;
    const address = URL.createObjectURL(shown);
    image.current.src = address;
    return () => URL.revokeObjectURL(address);
  }, [url, blob]);
  return <img ref={image} class="picture" alt={label} />;
}
