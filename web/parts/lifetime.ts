/** The life of a component, for what it begins and may not see the end of. */
import { useLayoutEffect, useState } from "preact/hooks";

/** Aborts when the component leaves the page: what it has begun ends then, or calls nobody back. */
export function useLifetime(): AbortSignal {
  const [controller] = useState(() => new AbortController());
  useLayoutEffect(() => () => controller.abort(), []);
  return controller.signal;
}
