/** The list of traces: the columns that are shown, and two traces chosen to be compared. */

/** @typedef {typeof import("./page.js")} Page */
/** @typedef {{ theme?: string, density?: string, hide?: string[] }} Preferences */
/** @typedef {{ read: () => Preferences, set: (changes: Preferences) => Preferences }} Memory */

const PLACES = ["before", "after", "last", "size"];

/**
 * Return the parameters of a search as they are saved: without the place in its list.
 *
 * @param {string} search
 */
export function searchOnly(search) {
  const parameters = new URLSearchParams(search);
  for (const name of PLACES) parameters.delete(name);
  return parameters.toString();
}

/**
 * Return the name of the column that a heading with these classes has; undefined if it must stay.
 *
 * @param {Iterable<string>} classes
 */
export function columnOf(classes) {
  const name = [...classes].find((one) => one.startsWith("col-"))?.slice("col-".length);
  return name === "name" || name === "choose" ? undefined : name;
}

/**
 * Fill a menu with a box for each column.
 *
 * @param {HTMLElement} menu
 * @param {Page} page
 * @param {Memory} preferences
 */
export function fillColumnMenu(menu, { all }, preferences) {
  if (menu.childElementCount) return;
  const hidden = new Set(preferences.read().hide ?? []);
  for (const head of all("#traces thead th")) {
    const name = columnOf(head.classList);
    if (!name) continue;
    const box = Object.assign(document.createElement("input"), { type: "checkbox" });
    box.checked = !hidden.has(name);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(name);
      else hidden.add(name);
      preferences.set({ hide: [...hidden] });
    });
    const label = document.createElement("label");
    label.append(box, ` ${(head.textContent ?? "").replace(/[↓↑]/, "").trim()}`);
    menu.append(label);
  }
}

/** @param {Page} page */
function chosen({ all }) {
  const boxes = /** @type {HTMLInputElement[]} */ (all(".col-choose input:checked"));
  return boxes.map((box) => box.value);
}

/**
 * Say how many traces are chosen; two can be compared.
 *
 * @param {Page} page
 */
export function countChosen(page) {
  const button = /** @type {HTMLButtonElement | null} */ (page.one("[data-action=compare]"));
  if (!button) return;
  const count = chosen(page).length;
  const place = page.one("[data-chosen]", button);
  if (place) place.textContent = String(count);
  button.disabled = count !== 2;
}

/**
 * Go to the comparison of the two chosen traces.
 *
 * @param {Page} page
 */
export function compareChosen(page) {
  // The list is newest first: the lower one is the earlier.
  const [after, before] = chosen(page);
  const address = new URL(page.one("#traces")?.dataset.compare ?? "", location.href);
  address.search = String(new URLSearchParams({ a: before, b: after }));
  location.assign(address);
}
