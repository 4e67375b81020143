/**
 * The viewer's behaviour, put together. All of it is comfort: without it the pages can be read.
 *
 * The other modules come from the addresses in the page: a storage that hashes the names of static
 * files does not change what stands in an import statement.
 */

/**
 * @typedef {object} Modules
 * @property {typeof import("./appearance.js")} appearance
 * @property {typeof import("./charts.js")} [charts] Of a page with charts.
 * @property {typeof import("./format.js")} format
 * @property {typeof import("./keys.js")} keys
 * @property {typeof import("./lines.js")} lines
 * @property {typeof import("./list.js")} list
 * @property {typeof import("./live.js")} live
 * @property {typeof import("./map.js")} map
 * @property {typeof import("./page.js")} page
 * @property {typeof import("./partials.js")} partials
 * @property {typeof import("./search.js")} search
 * @property {typeof import("./span.js")} span
 * @property {typeof import("./timeline.js")} timeline
 * @property {typeof import("./tree.js")} tree
 */

/** @import UPlot from "uplot" */

/**
 * What the other scripts of the page leave in the window.
 *
 * @typedef {object} Libraries
 * @property {{ ajax: (verb: string, address: string, options: object) => void }} htmx
 * @property {typeof UPlot} uPlot Of a page with charts.
 */

/** @returns {Promise<Modules>} */
async function load() {
  const selector = "link[rel=modulepreload][data-module]";
  const links = /** @type {NodeListOf<HTMLLinkElement>} */ (document.querySelectorAll(selector));
  const named = [...links].map(async ({ dataset, href }) => [dataset.module, await import(href)]);
  return Object.fromEntries(await Promise.all(named));
}

const modules = await load();
const { format, list, map, page, search, span } = modules;
const { all, announce, around, one, toast } = page;
const preferences = tracingPreferences;
const { htmx, uPlot } = /** @type {Libraries} */ (/** @type {unknown} */ (window));
const brand = /** @type {HTMLAnchorElement} */ (one(".brand"));
const base = new URL(brand.href).pathname;

const [treeElement, flame, panelElement] = [one("#tree"), one("#flame"), one("#panel")];
const appearance = modules.appearance.createAppearance(page, preferences);
const lines = modules.lines.createLines(page);
const timeline = modules.timeline.createTimeline(
  { tree: treeElement, flame, minimap: one("#minimap") },
  { page, formatDuration: format.formatDuration },
);
const tree =
  treeElement &&
  modules.tree.createTree(treeElement, {
    page,
    lines,
    added(rows) {
      timeline.draw();
      announce(`${format.plural(rows.length, "line")} added`);
    },
  });
const panel =
  panelElement &&
  span.createSpanPanel(panelElement, {
    page,
    lines,
    prepare,
    findRow: (number) => tree?.find(number) ?? null,
  });
const live = modules.live.createLive({
  page,
  plural: format.plural,
  added(body) {
    prepare(body);
    showAges();
  },
});
const drawCharts = modules.charts?.createCharts({ uPlot, ...format });

/**
 * Show what needs a script and set it up, in the page and again in each part that comes later.
 *
 * @param {ParentNode} within
 */
function prepare(within) {
  const waits = "[data-needs-script][hidden], button[data-action][hidden]:not(#waiting)";
  for (const element of all(waits, within)) element.hidden = false;
  for (const input of inputs("input[data-complete]", within)) search.complete(input);
  for (const input of inputs("input[data-completes]", within)) {
    search.completeName(input, `${base}complete.json`);
  }
  for (const menu of all("[data-columns]", within)) list.fillColumnMenu(menu, page, preferences);
  for (const drawing of all("svg.map", within)) map.lightUp(drawing, page);
  for (const field of inputs("[data-save-search] input[name=query]", within)) {
    field.value = list.searchOnly(location.search);
  }
  appearance.showNames();
  drawCharts?.(within);
}

/**
 * @param {string} selector
 * @param {ParentNode} within
 */
function inputs(selector, within) {
  return /** @type {HTMLInputElement[]} */ (all(selector, within));
}

function showAges() {
  const times = /** @type {HTMLTimeElement[]} */ (all("time[data-ago]"));
  for (const time of times) {
    time.textContent = format.formatAge(Date.now() - Date.parse(time.dateTime));
  }
}

function showKeys() {
  /** @type {HTMLDialogElement | null} */ (one("#keys"))?.showModal();
}

// -- Pointer --------------------------------------------------------------------------------------

/** @type {Record<string, (button: HTMLElement) => unknown>} */
const actions = {
  theme: appearance.nextTheme,
  density: appearance.nextDensity,
  help: showKeys,
  live: live.toggle,
  waiting() {
    scrollTo({ top: 0 });
    live.showWaiting();
  },
  compare: () => list.compareChosen(page),
  twist: (button) => tree?.toggle(/** @type {HTMLElement} */ (button.closest("[role=row]"))),
  "collapse-all": () => tree?.collapseAll(),
  "expand-all": () => tree?.expandAll(),
  "collapse-level": () => tree?.collapseLevel(),
  "expand-level": () => tree?.expandLevel(),
  "zoom-in": () => timeline.zoom(0.5),
  "zoom-out": () => timeline.zoom(2),
  "zoom-reset": timeline.reset,
  "map-in": () => map.scale(one("svg.map"), 1.25),
  "map-out": () => map.scale(one("svg.map"), 0.8),
  "map-fit": () => map.scale(one("svg.map"), 0),
  "close-panel": () => panel?.close(),
};

/** @type {ReturnType<typeof setTimeout> | undefined} */
let opening;

/**
 * Follow a link in place; return whether this is done.
 *
 * @param {HTMLAnchorElement} link
 * @param {MouseEvent} event
 */
function follow(link, event) {
  if ("span" in link.dataset && panel) {
    clearTimeout(opening);
    // A link of a drawing has its address in an object.
    const href = new URL(link.getAttribute("href") ?? "", location.href).href;
    // A second click may follow in the flame graph: it zooms.
    if (!flame?.contains(link)) panel.open(href);
    else if (event.detail < 2) opening = setTimeout(panel.open, 250, href);
    return true;
  }
  if ("repetitions" in link.dataset && tree) tree.repetitions(link);
  else if ("repetitionsMore" in link.dataset && tree) tree.more(link);
  else return false;
  return true;
}

/** @param {MouseEvent} event */
function copy(event) {
  const element = around(event, ".copyable, .name[data-whole]");
  if (!element || !navigator.clipboard || String(getSelection())) return;
  navigator.clipboard.writeText(element.dataset.whole || element.textContent || "").then(
    () => toast("Copied"),
    () => {},
  );
}

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const button = around(event, "[data-action]");
  const action = button?.dataset.action ?? "";
  const link = /** @type {HTMLAnchorElement | null} */ (around(event, "a"));
  if (button && Object.hasOwn(actions, action)) {
    event.preventDefault();
    actions[action](button);
  } else if (!link) copy(event);
  else if (follow(link, event)) event.preventDefault();
});

// -- Forms ----------------------------------------------------------------------------------------

document.addEventListener("change", (event) => {
  if (around(event, ".col-choose")) list.countChosen(page);
});

// Empty controls say nothing: the address stays readable.
document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.method !== "get" || form.id === "search-form") return;
  for (const field of /** @type {Iterable<HTMLInputElement>} */ (form.elements)) {
    if (field.name && !field.value) field.disabled = true;
  }
});
/** Enable the controls again: a page that comes back is as it was left. */
function enable() {
  for (const field of inputs("form[method=get] [disabled][name]", document)) field.disabled = false;
}
addEventListener("pageshow", enable);

// -- Keys -----------------------------------------------------------------------------------------

/**
 * Return what a key does where there is something to do it with.
 *
 * @template {{}} Part
 * @param {Part | null | undefined | false} part
 * @param {(part: Part) => void} act
 */
const having = (part, act) => () => (part ? act(part) : false);
const hasTime = (treeElement || flame) && timeline;

modules.keys.listen({
  page,
  base,
  keys: {
    "?": showKeys,
    "/"() {
      const box = /** @type {HTMLInputElement | null} */ (one("#q") ?? one("#find"));
      box?.focus();
      box?.select();
      if (!box) location.assign(base);
    },
    j: () => lines.step(1),
    k: () => lines.step(-1),
    Enter(event) {
      return !around(event, "a, button, input, select, textarea, summary") && lines.open();
    },
    l: live.toggle,
    "[": having(tree, ({ fold }) => fold(lines.current(), true)),
    "]": having(tree, ({ fold }) => fold(lines.current(), false)),
    o: having(tree, ({ collapseLevel }) => collapseLevel()),
    p: having(tree, ({ expandLevel }) => expandLevel()),
    f: having(tree, ({ match }) => match(1)),
    b: having(tree, ({ match }) => match(-1)),
    w: having(hasTime, ({ zoom }) => zoom(0.7)),
    s: having(hasTime, ({ zoom }) => zoom(1 / 0.7)),
    a: having(hasTime, ({ move }) => move(-1)),
    d: having(hasTime, ({ move }) => move(1)),
    0: having(hasTime, ({ reset }) => reset()),
    Escape() {
      if (panel?.close()) return true;
      const field = document.activeElement;
      if (!(field instanceof HTMLElement && field.matches("input, select, textarea"))) return false;
      field.blur();
    },
  },
  treeKeys: {
    ArrowDown: () => lines.step(1),
    ArrowUp: () => lines.step(-1),
    ArrowRight: (row) => tree?.fold(row, false),
    ArrowLeft: (row) => tree?.leave(row),
  },
});

document.addEventListener("focusin", (event) => {
  const row = around(event, "#tree [role=row][data-number]");
  if (row && row !== lines.current()) lines.go(row, { focus: false });
});

// -- Parts that come later ------------------------------------------------------------------------

modules.partials.listen({
  page,
  swapped(target) {
    prepare(target);
    if (!treeElement?.contains(target.isConnected ? target : treeElement)) return;
    // Further lines of the tree: they are drawn and folded like those that are there.
    prepare(treeElement);
    timeline.draw();
    tree?.draw();
  },
  searched(parameters) {
    list.countChosen(page);
    one("#q")?.toggleAttribute("aria-invalid", one("#search-problem:not([hidden])") !== null);
    const charts = one("#charts");
    const address = `${base}charts/${parameters}`;
    if (charts) htmx.ajax("GET", address, { target: charts, swap: "innerHTML" });
    one(".examples")?.toggleAttribute("hidden", true);
    live.stop();
  },
});

// -- The page as it came --------------------------------------------------------------------------

enable();
prepare(document);
const opened = span.spanNumber(location.pathname);
if (tree) lines.go(opened ? tree.find(opened) : one(".is-match", treeElement), { focus: false });
setInterval(showAges, 15000);
document.documentElement.dataset.ready = "";

export {};
