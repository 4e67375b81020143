/** The list of traces, to which new ones come while one looks. */

/** @typedef {typeof import("./page.js")} Page */

const PAUSE = 2000;
const MOST_ROWS = 500;

/**
 * Return the number of the newest row that an answer knows of; undefined if it says nothing.
 *
 * @param {string} html
 */
export function newestRow(html) {
  return /data-row="(\d+)"/.exec(html)?.[1];
}

/**
 * Return the rows of an answer: a row of a table is parsed as one only within a table.
 *
 * @param {string} html
 */
export function asTable(html) {
  return `<table><tbody>${html.replace(/<template[^>]*><\/template>/, "")}</tbody></table>`;
}

/**
 * Return what follows new traces.
 *
 * @param {object} parts
 * @param {Page} parts.page
 * @param {(count: number, noun: string) => string} parts.plural
 * @param {(body: HTMLElement) => void} parts.added Called with the body that got new rows.
 */
export function createLive({ page, plural, added }) {
  const { all, announce, one } = page;
  /** @type {HTMLElement[]} */
  let waiting = [];
  let newest = "0";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  // Looked for each time: a search brings another button.
  const button = () => one("[data-action=live]");
  const isOn = () => button()?.getAttribute("aria-pressed") === "true";
  const traces = () => plural(waiting.length, "new trace");

  /** @param {boolean} on */
  function set(on) {
    const found = button();
    if (!found) return;
    found.setAttribute("aria-pressed", String(on));
    clearTimeout(timer);
    if (on) {
      newest = found.dataset.row ?? "0";
      poll();
    }
    announce(on ? "Live: new traces are added as they come" : "Live is off");
  }

  async function poll() {
    const asking = button();
    if (!asking || !isOn()) return;
    if (!document.hidden) {
      const address = new URL(asking.dataset.live ?? "", location.href);
      address.searchParams.set("row", newest);
      const html = await page.fetchPart(address);
      if (html !== null) arrived(html);
      asking.classList.toggle("is-lost", html === null);
      if (html === null) announce("The server does not answer; trying again");
    }
    clearTimeout(timer);
    timer = setTimeout(poll, PAUSE);
  }

  /** @param {string} html */
  function arrived(html) {
    const row = newestRow(html);
    const found = button();
    if (row && found) newest = found.dataset.row = row;
    const rows = all("tr", page.parse(asTable(html)));
    if (!rows.length) return;
    waiting.unshift(...rows);
    // Whoever reads further down keeps the place and is told; the others see them slide in.
    const table = one("#traces");
    const reads =
      table &&
      (table.getBoundingClientRect().top < 0 || one("#rows")?.contains(document.activeElement));
    if (reads) tellWaiting();
    else showWaiting();
  }

  function tellWaiting() {
    const told = one("#waiting");
    if (!told) return;
    told.hidden = waiting.length === 0;
    told.textContent = traces();
  }

  function showWaiting() {
    const body = one("#rows");
    if (!body) return;
    const known = new Set(all("tr", body).map((row) => row.dataset.trace));
    const fresh = waiting.filter((row) => !known.has(row.dataset.trace));
    waiting = [];
    for (const row of fresh) row.classList.add("is-new");
    body.prepend(...fresh);
    added(body);
    for (const extra of all("tr", body).slice(MOST_ROWS)) extra.remove();
    tellWaiting();
    if (fresh.length) announce(plural(fresh.length, "new trace"));
  }

  return {
    showWaiting,
    /** Turn it on or off; return whether there is something to turn. */
    toggle() {
      set(!isOn());
      return Boolean(button());
    },
    stop: () => set(false),
  };
}
