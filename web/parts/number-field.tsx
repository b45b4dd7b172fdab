/** A number that may be left empty. */

export interface NumberFieldProps {
  readonly label: string;
  readonly value: number | null;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly placeholder?: string;
  readonly onChange: (value: number | null) => void;
}

export function NumberField({ label, value, min, max, step, placeholder = "", onChange }: NumberFieldProps) {
  return (
    <label class="number">
      {label}
      <input
        type="number"
        value={value ?? ""}
        min={min}
        max={max}
        step={step}
        placeholder={placeholder}
        onInput={({ currentTarget }) => {
          if (currentTarget.validity.badInput) return;
          onChange(currentTarget.value === "" ? null : Number(currentTarget.value));
        }}
      />
    </label>
  );
}
