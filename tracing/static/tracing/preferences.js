/* Preferences of this browser: theme, density and hidden columns, put on <html> before it is painted. */

/** @typedef {{ theme?: string, density?: string, hide?: string[] }} Preferences */

// A classic script, not a module: modules run after the first painting.
// biome-ignore lint/correctness/noUnusedVariables: The viewer uses it.
const tracingPreferences = (() => {
  const key = "tracing.viewer";
  const root = document.documentElement;

  /** @returns {Preferences} */
  function read() {
    try {
      const kept = JSON.parse(localStorage.getItem(key) || "{}");
      return kept && typeof kept === "object" ? kept : {};
    } catch {
      return {};
    }
  }

  /** @param {Preferences} kept */
  function apply(kept) {
    if (kept.theme === "light" || kept.theme === "dark") root.dataset.theme = kept.theme;
    else delete root.dataset.theme;
    if (kept.density === "dense") root.dataset.density = "dense";
    else delete root.dataset.density;
    root.dataset.hide = Array.isArray(kept.hide) ? kept.hide.join(" ") : "";
  }

  /** @param {Preferences} changes */
  function set(changes) {
    const kept = { ...read(), ...changes };
    try {
      localStorage.setItem(key, JSON.stringify(kept));
    } catch {
      // Without storage the choice holds for this page.
    }
    apply(kept);
    return kept;
  }

  apply(read());
  return { read, set };
})();
