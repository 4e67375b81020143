/** Theme and density: the next one on a press, and their names on the buttons. */

/** @typedef {typeof import("./page.js")} Page */
/** @typedef {import("./list.js").Memory} Memory */

const THEMES = ["system", "light", "dark"];

/**
 * Return the theme after another one.
 *
 * @param {string | undefined} theme
 */
export function themeAfter(theme) {
  return THEMES[(THEMES.indexOf(theme ?? "system") + 1) % THEMES.length];
}

/**
 * Return what changes theme and density.
 *
 * @param {Page} page
 * @param {Memory} preferences
 */
export function createAppearance({ all, announce }, preferences) {
  function showNames() {
    const { theme, density } = preferences.read();
    for (const place of all("[data-theme-name]")) place.textContent = theme || "system";
    for (const place of all("[data-density-name]")) place.textContent = density || "normal";
  }

  return {
    showNames,
    nextTheme() {
      const theme = themeAfter(preferences.read().theme);
      preferences.set({ theme: theme === "system" ? undefined : theme });
      showNames();
      announce(`Theme: ${theme}`);
    },
    nextDensity() {
      const isDense = preferences.read().density === "dense";
      preferences.set({ density: isDense ? undefined : "dense" });
      showNames();
    },
  };
}
