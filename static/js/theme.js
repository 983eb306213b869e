// Light, dark and high contrast, kept in a cookie so that the server draws the right one. Reads data-behavior=theme.
const root = document.documentElement;
const looks = [["light", "normal"], ["dark", "normal"], ["light", "more"], ["dark", "more"]];

export function nextLook() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = root.dataset.theme ?? (dark ? "dark" : "light");
  const now = looks.findIndex(([one, contrast]) => one === theme && contrast === (root.dataset.contrast ?? "normal"));
  const [next, contrast] = looks[(now + 1) % looks.length];
  root.dataset.theme = next;
  root.dataset.contrast = contrast;
  const kept = "; path=/; max-age=31536000; samesite=lax";
  document.cookie = `theme=${next}${kept}`;
  document.cookie = `contrast=${contrast}${kept}`;
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-behavior=theme]")) nextLook();
});
