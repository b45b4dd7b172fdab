/** What someone who types a name means. */

export type Meant = { readonly kind: "name"; readonly name: string } | { readonly kind: "none" | "several" };

/** A name, or enough of one: a part that only one name begins with, or else that only one contains. Case does not count. */
export function meantBy(typed: string, names: readonly string[]): Meant {
  const text = typed.trim();
  if (names.includes(text)) return { kind: "name", name: text };
  const wanted = text.toLowerCase();
  const rules = [
    (name: string): boolean => name === wanted,
    (name: string): boolean => name.startsWith(wanted),
    (name: string): boolean => name.includes(wanted),
  ];
  for (const rule of rules) {
    const [name, ...others] = names.filter((each) => rule(each.toLowerCase()));
    if (name !== undefined) return others.length === 0 ? { kind: "name", name } : { kind: "several" };
  }
  return { kind: "none" };
}
