/** Why the server refused an upload: the cause in one sentence, the rest for whoever opens it. */
import { useEffect, useRef } from "preact/hooks";
import { type Refusal, refusalOf } from "./upload-words.js";

export function UploadRefusal(props: Refusal) {
  const { cause, faults } = refusalOf(props);
  const element = useRef<HTMLDivElement>(null);
  useEffect(() => element.current?.scrollIntoView({ block: "nearest" }), [cause]);
  return (
    <div class="fault" role="alert" ref={element}>
      <p>{cause}</p>
      {faults.length > 0 ? (
        <details>
          <summary>All faults</summary>
          <ul>
            {faults.map((fault) => (
              <li key={fault}>{fault}</li>
            ))}
          </ul>
        </details>
      ) : null}
    </div>
  );
}
