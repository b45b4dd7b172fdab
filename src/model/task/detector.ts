/** How a detector's outputs become boxes, by its class in transformers or by its manifest. */

import type { Manifest } from "./manifest.js";

export interface Detector {
  readonly scores:
    | {
        readonly kind: "softmax";
        /** Neither the class nor the manifest says so. */
        readonly isAssumed: boolean;
      }
    /** The highest scores of all queries and labels, `top` of them; null: as many as there are queries. */
    | { readonly kind: "sigmoid"; readonly top: number | null };
  /** The least score that is shown unless a request says another. */
  readonly threshold: number;
}

/** Classes trained with focal loss, and how many boxes their processors keep. */
const sigmoids: readonly (readonly [architecture: RegExp, top: number | null])[] = [
  [/^(ConditionalDetr|DeformableDetr)ForObjectDetection$/, 100],
  [/^(RTDetr|RTDetrV2|DFine)ForObjectDetection$/, null],
];

/** Classes whose last label is for nothing. */
const softmaxes = /^(Detr|Yolos|TableTransformer)ForObjectDetection$/;

const usualThreshold = 0.5;

export function detectorOf(
  architecture: string | null,
  { scores, threshold = usualThreshold }: Pick<Manifest, "scores" | "threshold">,
): Detector {
  const known = sigmoids.find(([name]) => name.test(architecture ?? ""));
  const kind = scores ?? (known ? "sigmoid" : "softmax");
  const softmax = { kind: "softmax", isAssumed: scores === undefined && !softmaxes.test(architecture ?? "") } as const;
  return { scores: kind === "sigmoid" ? { kind, top: known?.[1] ?? null } : softmax, threshold };
}
