/** The chart that a training wrote. A picture cannot run scripts or load anything, whatever the SVG holds. */
import { useEffect, useState } from "preact/hooks";

export function TrainingChart({ svg, name }: { readonly svg: string; readonly name: string }) {
  const [address, setAddress] = useState<string | null>(null);
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [svg]);
  return address === null ? null : <img class="training" src={address} alt={`The losses of ${name} during training`} />;
}
