/**
 * The panel's behaviour: a custom element that takes its own HTML into a shadow root.
 *
 * The toolbar replaces panels as it likes (first opening, history, fetch); an element that is
 * connected sets itself up, so nothing here depends on when that happens. As on the viewer's pages
 * the other modules come from addresses in the HTML.
 */

/** @typedef {import("./filter.js").Filter} Filter */

/**
 * @typedef {object} Modules
 * @property {typeof import("./choices.js")} choices
 * @property {typeof import("./filter.js")} filter
 * @property {typeof import("./tables.js")} tables
 * @property {typeof import("./tabs.js")} tabs
 * @property {typeof import("../js/tree.js")} tree
 * @property {typeof import("./treegrid.js")} treegrid
 */

/** What the filter looks at besides the rows of the tree. */
const LISTED = "[data-list] tbody tr, ul[data-list] > li, article.hazard, .bypasses li";

/**
 * Import the modules that links name.
 *
 * @param {ParentNode} within
 * @returns {Promise<Modules>}
 */
async function load(within) {
  const selector = "link[rel=modulepreload][data-module]";
  const links = /** @type {NodeListOf<HTMLLinkElement>} */ (within.querySelectorAll(selector));
  const named = [...links].map(async ({ dataset, href }) => [dataset.module, await import(href)]);
  return Object.fromEntries(await Promise.all(named));
}

/**
 * Wait for the style sheets, whether they come or not.
 *
 * @param {ParentNode} within
 */
function styled(within) {
  const links = [...within.querySelectorAll("link[rel=stylesheet]")];
  const waits = links.map(
    (link) =>
      new Promise((done) => {
        link.addEventListener("load", done, { once: true });
        link.addEventListener("error", done, { once: true });
      }),
  );
  return Promise.all(waits);
}

class SignalTracePanel extends HTMLElement {
  /** @type {MutationObserver | undefined} */
  themeObserver;

  connectedCallback() {
    if (document.readyState === "loading") {
      // The parser may not have come to the end of this element yet.
      document.addEventListener("DOMContentLoaded", () => this.setUp(), { once: true });
    } else {
      this.setUp();
    }
  }

  disconnectedCallback() {
    this.themeObserver?.disconnect();
  }

  async setUp() {
    this.followTheme();
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    const body = /** @type {HTMLElement} */ (this.querySelector(".body"));
    body.hidden = true;
    const styles = styled(this);
    const modules = load(this);
    root.append(...this.childNodes);
    try {
      if (root.querySelector("[role=tablist]")) new Controls(root, body, await modules);
    } finally {
      // What is in the panel can be read without its behaviour.
      await styles;
      body.hidden = false;
      this.toggleAttribute("data-ready", true);
    }
  }

  /** Follow the toolbar's theme; where there is no toolbar, the system's. */
  followTheme() {
    const toolbar = /** @type {HTMLElement | null} */ (this.closest("#djDebug"));
    // The toolbar pads what it frames; the panel's paper reaches to the edges.
    for (const selector of [".djDebugPanelContent", ".djdt-scroll"]) {
      const frame = /** @type {HTMLElement | null} */ (this.closest(selector));
      frame?.style.setProperty("padding", "0");
    }
    const preference = matchMedia("(prefers-color-scheme: dark)");
    const apply = () => {
      this.dataset.theme = toolbar?.dataset.theme || (preference.matches ? "dark" : "light");
    };
    apply();
    this.themeObserver?.disconnect();
    if (toolbar) {
      this.themeObserver = new MutationObserver(apply);
      this.themeObserver.observe(toolbar, { attributeFilter: ["data-theme"] });
    } else {
      preference.addEventListener("change", apply);
    }
  }
}

/** What a person can choose in the panel. */
class Controls {
  #root;
  #body;
  #choices;
  #filter;
  #memory;
  #everything;
  /** @type {Record<string, HTMLInputElement | HTMLSelectElement>} */
  #fields = {};

  /**
   * @param {ShadowRoot} root
   * @param {HTMLElement} body
   * @param {Modules} modules
   */
  constructor(root, body, { choices, filter, tables, tabs, tree, treegrid }) {
    this.#root = root;
    this.#body = body;
    this.#choices = choices;
    this.#filter = filter;
    this.#memory = choices.createMemory(() => sessionStorage);
    this.tabs = new tabs.Tabs(root, (name) => this.#changed({ tab: name }));
    this.tree = new treegrid.TreeGrid(root, { tree, filter });
    for (const element of this.#all("[data-needs-script]")) element.hidden = false;
    for (const table of this.#all("table[data-list]")) {
      tables.makeSortable(/** @type {HTMLTableElement} */ (table));
    }
    // As the viewer's pages: what was chosen last, there or here.
    this.#everything = choices.readCookie(body.dataset.cookie ?? "") === "everything";
    for (const name of ["filter", "threshold", "order"]) {
      const field = /** @type {HTMLInputElement} */ (root.querySelector(`[name=${name}]`));
      this.#fields[name] = field;
      field.addEventListener("input", () => this.#changed({ [name]: field.value }));
    }
    this.#restore(this.#memory.read());
    root.addEventListener("click", (event) => this.#clicked(event));
    root.addEventListener("keydown", (event) => {
      this.#pressed(/** @type {KeyboardEvent} */ (event));
    });
    this.#apply();
  }

  /**
   * @param {string} selector
   * @returns {HTMLElement[]}
   */
  #all(selector) {
    return [.../** @type {NodeListOf<HTMLElement>} */ (this.#root.querySelectorAll(selector))];
  }

  /**
   * @param {string} selector
   * @param {boolean} isHidden
   */
  #hide(selector, isHidden) {
    for (const element of this.#all(selector)) element.hidden = isHidden;
  }

  /** @param {Record<string, string>} choices */
  #restore({ tab = "tree", ...choices }) {
    for (const [name, field] of Object.entries(this.#fields)) {
      if (!choices[name]) continue;
      field.value = choices[name];
      // A threshold that does not exist any more selects nothing.
      if (field instanceof HTMLSelectElement && field.selectedIndex === -1) field.selectedIndex = 0;
    }
    this.tabs.show(tab);
  }

  /** @param {Record<string, string>} choice */
  #changed(choice) {
    this.#memory.write(choice);
    this.#apply();
  }

  /**
   * Show what is mine or everything, here and on the pages of the viewer.
   *
   * @param {string} choice
   */
  #choose(choice) {
    this.#everything = choice === "everything";
    const { cookie = "", cookiePath = "/" } = this.#body.dataset;
    this.#choices.writeCookie(cookie, choice, cookiePath);
    this.#apply();
  }

  /** Show on which side the switch is, with the lines and the numbers that go with it. */
  #applySwitch() {
    const chosen = this.#everything ? "everything" : "mine";
    for (const button of this.#all(".switch button")) {
      button.setAttribute("aria-pressed", String(button.dataset.show === chosen));
    }
    this.#hide(".hidden-line, .none-of-mine", this.#everything);
    for (const count of this.#all("[data-everything]")) {
      const { mine = "", everything = "" } = count.dataset;
      count.textContent = this.#everything || mine === "" ? everything : mine;
    }
  }

  #apply() {
    const { countText, fits, isInView, readSubject, wordsOf } = this.#filter;
    const { filter: text, threshold, order } = this.#fields;
    /** @type {Filter} */
    const filter = {
      words: wordsOf(text.value),
      threshold: Number(threshold.value),
      everything: this.#everything,
    };
    this.#applySwitch();
    this.tree.order(order.value);
    this.tree.filter(filter);
    for (const element of this.#all(LISTED)) element.hidden = !fits(filter, readSubject(element));
    for (const table of this.#all("table[data-list]")) {
      const [body] = /** @type {HTMLTableElement} */ (table).tBodies;
      const frame = /** @type {HTMLElement} */ (table.parentElement);
      frame.hidden = ![...body.rows].some((row) => isInView(filter, readSubject(row)));
    }
    const name = this.tabs.current;
    const listed = `[data-search], ${LISTED}`;
    const subjects = this.#all(`#view-${name} :is(${listed})`).map(readSubject);
    const all = subjects.filter((subject) => isInView(filter, subject));
    const found = all.filter((subject) => fits(filter, subject));
    this.#hide(".only-tree", name !== "tree");
    // Hazards and writes have no time of their own.
    this.#hide(".only-timed", name === "hazards" || name === "bypassed");
    for (const place of this.#all(".found")) {
      place.textContent = countText(found.length, all.length);
    }
  }

  /** @param {Event} event */
  #clicked({ target }) {
    if (!(target instanceof Element)) return;
    const choice = /** @type {HTMLElement | null} */ (target.closest("button[data-show]"));
    if (choice) {
      this.#choose(choice.dataset.show ?? "");
      // The line with the button is gone: the switch says the same.
      if (!choice.closest(".switch")) this.#all(".switch [aria-pressed=true]")[0]?.focus();
    }
    const jump = /** @type {HTMLElement | null} */ (target.closest(".jump"));
    if (jump) {
      this.tabs.choose("tree");
      this.tree.reveal(jump.dataset.row ?? "", () => this.#clear());
    }
  }

  #clear() {
    const { filter, threshold } = this.#fields;
    filter.value = "";
    threshold.value = "0";
    this.#changed({ filter: "", threshold: "0" });
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const filter = /** @type {HTMLInputElement} */ (this.#fields.filter);
    const isTyped = event.target === filter;
    if (event.key === "/" && !isTyped) {
      filter.focus();
      filter.select();
    } else if (event.key === "Escape" && isTyped && filter.value) {
      this.#clear();
    } else if (event.key === "ArrowDown" && isTyped) {
      this.tree.focusFirst();
    } else {
      // What is typed is no shortcut of the page, but Escape still closes the panel.
      if (isTyped && event.key !== "Escape") event.stopPropagation();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

if (!customElements.get("signal-trace-panel")) {
  customElements.define("signal-trace-panel", SignalTracePanel);
}
