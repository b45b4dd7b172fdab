/** Something that is on or off. */

export interface CheckFieldProps {
  readonly label: string;
  /** What it is about, where several such fields stand below each other. */
  readonly of?: string;
  /** Of the stylesheet. */
  readonly kind?: string;
  readonly isChecked: boolean;
  readonly onChange: (isChecked: boolean) => void;
}

export function CheckField({ label, of, kind = "", isChecked, onChange }: CheckFieldProps) {
  return (
    <label class={`check ${kind}`}>
      <input
        type="checkbox"
        aria-label={of === undefined ? undefined : `${label}: ${of}`}
        checked={isChecked}
        onChange={({ currentTarget }) => onChange(currentTarget.checked)}
      />
      {label}
    </label>
  );
}
