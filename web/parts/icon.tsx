/** The page's icons, as strokes in the colour of the text. They say nothing that a label beside them does not. */

const paths = {
  contrast: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M4 4l2 2M18 18l2 2M2 12h2M20 12h2M4 20l2-2M18 6l2-2",
  moon: "M20 14a8 8 0 1 1-10-10 7 7 0 0 0 10 10z",
  play: "M7 5l12 7-12 7z",
  stop: "M7 7h10v10H7z",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5M14 4l-4 16",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  dice: "M5 5h14v14H5zM9 9h.01M15 15h.01M15 9h.01M9 15h.01M12 12h.01",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  upload: "M12 16V4M7 9l5-5 5 5M4 20h16",
  pin: "M9 4h6l-1 7 3 3H7l3-3zM12 14v6",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}

/** The page's own icon, as in `icon.svg`. */
export function Bird() {
  return (
    <svg class="bird" viewBox="0 0 32 32" aria-hidden="true">
      <path fill="#2563eb" d="M4 15a11 11 0 0 1 22-2l-6 6H4z" />
      <path fill="#16a34a" d="M8 19h14a10 10 0 0 1-10 10H7z" />
      <path fill="#f97316" d="M4 15h13a7 7 0 0 1-6 8H6a12 12 0 0 1-2-8z" />
      <path fill="#dc2626" d="M23 9a7 7 0 0 1 7 7 5 5 0 0 1-4 4 9 9 0 0 0-3-7z" />
      <circle cx="18" cy="11" r="2.2" fill="#fff" />
      <circle cx="18" cy="11" r="1.1" fill="#111" />
    </svg>
  );
}
