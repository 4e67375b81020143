/** Parts of a page that htmx brings. */

/** @typedef {typeof import("./page.js")} Page */

/**
 * What htmx tells of a request.
 *
 * @typedef {object} Detail
 * @property {HTMLElement} [target]
 * @property {XMLHttpRequest} xhr
 * @property {string} verb
 * @property {FormData} parameters
 * @property {string} serverResponse
 * @property {boolean} shouldSwap
 * @property {boolean} isError
 */

const UNLOADED = "This part could not be loaded. The rest of the page is as it was.";
const NO_CHARTS = "The charts could not be loaded.";

/**
 * Take away the parameters that say nothing: the address stays readable.
 *
 * @param {Pick<FormData, "keys" | "get" | "delete">} parameters
 */
export function dropEmpty(parameters) {
  const query = parameters.get("q");
  for (const name of [...parameters.keys()]) {
    const value = parameters.get(name);
    if (value === "" || (name === "last" && value === query)) parameters.delete(name);
  }
}

/**
 * Return the text about a part that failed: the answer's own where it is a short plain text.
 *
 * @param {string | null | undefined} contentType
 * @param {string | undefined} text
 */
export function failureText(contentType, text = "") {
  return (contentType?.startsWith("text/plain") && text.slice(0, 200)) || UNLOADED;
}

/**
 * Return whether an answer is a form with what is wrong in it.
 *
 * @param {string | null} contentType
 * @param {string} text
 */
export function isFaultyForm(contentType, text) {
  return Boolean(contentType?.startsWith("text/html")) && text.includes("field-error");
}

/**
 * Follow what htmx does.
 *
 * @param {object} parts
 * @param {Page} parts.page
 * @param {(target: HTMLElement) => void} parts.swapped Called with each part that came.
 * @param {(search: string) => void} parts.searched Called with the parameters of new results.
 */
export function listen({ page, swapped, searched }) {
  /**
   * @param {string} name
   * @param {(detail: Detail) => void} act
   */
  const on = (name, act) => {
    document.addEventListener(`htmx:${name}`, (event) => {
      act(/** @type {CustomEvent<Detail>} */ (event).detail);
    });
  };

  on("configRequest", ({ parameters, verb }) => {
    if (verb === "get") dropEmpty(parameters);
  });
  on("beforeSwap", (detail) => {
    const type = detail.xhr.getResponseHeader("Content-Type");
    const isHere = detail.target?.id === "saved-searches";
    if (!isHere || !isFaultyForm(type, detail.serverResponse)) return;
    // What is wrong with a name is said beside it.
    detail.shouldSwap = true;
    detail.isError = false;
  });
  // Lines of a table that came beside what was asked for.
  on("oobAfterSwap", ({ target }) => {
    if (target) swapped(target);
  });
  on("afterSwap", ({ target, xhr }) => {
    if (!target) return;
    swapped(target);
    if (target.id === "results") searched(new URL(xhr.responseURL).search);
  });
  for (const name of ["responseError", "sendError", "timeout"]) {
    on(name, ({ target, xhr }) => {
      page.toast(failureText(xhr?.getResponseHeader("Content-Type"), xhr?.responseText));
      if (target?.matches("#charts, .charts")) target.textContent = NO_CHARTS;
    });
  }
}
