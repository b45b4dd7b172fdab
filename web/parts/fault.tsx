/** Why something went wrong, announced to screen readers; nothing where `text` is null. */
export function Fault({ text }: { readonly text: string | null }) {
  if (text === null) return null;
  return (
    <p class="fault" role="alert">
      {text}
    </p>
  );
}
