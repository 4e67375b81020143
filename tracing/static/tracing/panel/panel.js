/**
 * The panel's behaviour: a custom element that takes its own HTML into a shadow root.
 *
 * The toolbar replaces panels as it likes (first opening, history, fetch); an element that is
 * connected sets itself up, so nothing here depends on when that happens.
 */

const MANY_ROWS = 150;
const MEMORY = "tracing.panel";

/** Remember choices for as long as the browser's tab lives; do without where that is forbidden. */
const memory = {
    read() {
        try {
            return JSON.parse(sessionStorage.getItem(MEMORY)) || {};
        } catch {
            return {};
        }
    },
    write(choices) {
        try {
            sessionStorage.setItem(MEMORY, JSON.stringify({ ...memory.read(), ...choices }));
        } catch {
            // Storage is switched off: the choices last as long as the panel.
        }
    },
};

/** Return the value of a cookie; empty without one, or where cookies are forbidden. */
function cookie(name) {
    try {
        const found = document.cookie.split("; ").find((part) => part.startsWith(`${name}=`));
        return found ? found.slice(name.length + 1) : "";
    } catch {
        return "";
    }
}

class SignalTracePanel extends HTMLElement {
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

    setUp() {
        this.followTheme();
        if (this.shadowRoot) {
            return;
        }
        const root = this.attachShadow({ mode: "open" });
        const link = this.querySelector("link");
        this.body = this.querySelector(".panel");
        this.body.hidden = true;
        const show = () => {
            this.body.hidden = false;
            this.toggleAttribute("data-ready", true);
        };
        link.addEventListener("load", show, { once: true });
        link.addEventListener("error", show, { once: true });
        root.append(...this.childNodes);
        if (!root.querySelector("[role=tablist]")) {
            return;
        }
        this.tabs = new Tabs(root, (name) => this.changed({ tab: name }));
        this.tree = new Tree(root);
        for (const table of root.querySelectorAll("[data-list]")) {
            makeSortable(table);
        }
        this.controls = {
            filter: root.querySelector("[name=filter]"),
            threshold: root.querySelector("[name=threshold]"),
            order: root.querySelector("[name=order]"),
        };
        // As the viewer's pages: the address first, else what was chosen last, there or here.
        const { show: asked, cookie: name } = this.body.dataset;
        this.everything = (asked || cookie(name)) === "everything";
        this.restore(memory.read());
        for (const [name, control] of Object.entries(this.controls)) {
            control.addEventListener("input", () => this.changed({ [name]: control.value }));
        }
        root.addEventListener("click", (event) => this.clicked(event));
        root.addEventListener("keydown", (event) => this.keyPressed(event));
        this.apply();
    }

    /** Follow the toolbar's theme; where there is no toolbar, the system's. */
    followTheme() {
        const toolbar = this.closest("#djDebug");
        // The toolbar pads what it frames; the panel's paper reaches to the edges.
        for (const frame of [this.closest(".djDebugPanelContent"), this.closest(".djdt-scroll")]) {
            frame?.style.setProperty("padding", "0");
        }
        const preference = matchMedia("(prefers-color-scheme: dark)");
        this.toggleAttribute("data-alone", !toolbar);
        const apply = () => {
            const theme = toolbar?.dataset.theme || (preference.matches ? "dark" : "light");
            this.dataset.theme = theme;
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

    restore(choices) {
        for (const [name, control] of Object.entries(this.controls)) {
            if (choices[name]) {
                control.value = choices[name];
                // A threshold that does not exist any more selects nothing.
                if (control.selectedIndex === -1) {
                    control.selectedIndex = 0;
                }
            }
        }
        this.tabs.select(choices.tab || "tree", { quietly: true });
    }

    changed(choice) {
        memory.write(choice);
        this.apply();
    }

    /** Show what is mine or everything, here and on the pages of the viewer. */
    choose(choice) {
        this.everything = choice === "everything";
        const { cookie: name, cookiePath } = this.body.dataset;
        try {
            document.cookie = `${name}=${choice}; path=${cookiePath}; max-age=31536000; samesite=lax`;
        } catch {
            // Cookies are forbidden: the choice lasts as long as the panel.
        }
        this.apply();
    }

    /** Show on which side the switch is, with the lines and the numbers that go with it. */
    applySwitch() {
        const root = this.shadowRoot;
        for (const button of root.querySelectorAll(".switch button")) {
            const isChosen = button.dataset.show === (this.everything ? "everything" : "mine");
            button.setAttribute("aria-pressed", String(isChosen));
        }
        for (const line of root.querySelectorAll(".others, .none-of-mine")) {
            line.hidden = this.everything;
        }
        for (const count of root.querySelectorAll("[data-everything]")) {
            const { mine, everything } = count.dataset;
            count.textContent = this.everything || mine === "" ? everything : mine;
        }
    }

    apply() {
        this.applySwitch();
        const words = this.controls.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
        const threshold = Number(this.controls.threshold.value);
        const isInView = (element) => this.everything || !("other" in element.dataset);
        const fits = (element) =>
            isInView(element) &&
            words.every((word) => element.dataset.search.includes(word)) &&
            (!threshold || !("total" in element.dataset) || Number(element.dataset.total) >= threshold);
        this.tree.order(this.controls.order.value);
        this.tree.isInView = isInView;
        this.tree.filter(fits, words.length > 0 || threshold > 0);
        const root = this.shadowRoot;
        for (const element of root.querySelectorAll("[data-list] [data-search], article[data-search]")) {
            element.hidden = !fits(element);
        }
        for (const table of root.querySelectorAll("[data-list]")) {
            table.hidden = ![...table.tBodies[0].rows].some(isInView);
        }
        const name = this.tabs.current;
        const view = root.querySelector(`#view-${name}`);
        const all = [...view.querySelectorAll("[data-search]")].filter(isInView);
        const found = all.filter(fits).length;
        root.querySelector(".only-tree").hidden = name !== "tree";
        // Hazards and writes have no time of their own.
        root.querySelector(".only-timed").hidden = name === "hazards" || name === "bypassed";
        root.querySelector(".found").textContent =
            found === all.length ? "" : `${found} of ${all.length} ${all.length === 1 ? "row" : "rows"}`;
    }

    clicked(event) {
        const choice = event.target.closest("button[data-show]");
        if (choice) {
            this.choose(choice.dataset.show);
            if (!choice.closest(".switch")) {
                // The line with the button is gone: the switch says the same.
                this.shadowRoot.querySelector(".switch [aria-pressed=true]").focus();
            }
        }
        const jump = event.target.closest(".jump");
        if (jump) {
            this.tabs.select("tree");
            this.tree.reveal(jump.dataset.row, () => this.clearFilter());
        }
    }

    clearFilter() {
        this.controls.filter.value = "";
        this.controls.threshold.selectedIndex = 0;
        this.changed({ filter: "", threshold: "0" });
    }

    keyPressed(event) {
        if (event.ctrlKey || event.metaKey || event.altKey) {
            return;
        }
        const typing = event.target === this.controls.filter;
        if (event.key === "/" && !typing) {
            this.controls.filter.focus();
            this.controls.filter.select();
        } else if (event.key === "Escape" && typing && this.controls.filter.value) {
            this.clearFilter();
        } else if (event.key === "ArrowDown" && typing) {
            this.tree.focusFirst();
        } else if (typing) {
            // What is typed is no shortcut of the page, but Escape still closes the panel.
            if (event.key !== "Escape") {
                event.stopPropagation();
            }
            return;
        } else {
            return;
        }
        event.preventDefault();
        event.stopPropagation();
    }
}

class Tabs {
    constructor(root, changed) {
        this.root = root;
        this.changed = changed;
        this.buttons = [...root.querySelectorAll("[role=tab]")];
        for (const button of this.buttons) {
            button.addEventListener("click", () => this.select(nameOf(button)));
            button.addEventListener("keydown", (event) => this.keyPressed(event, button));
        }
    }

    select(name, { quietly = false, focus = false } = {}) {
        const known = this.buttons.some((button) => nameOf(button) === name);
        this.current = known ? name : "tree";
        for (const button of this.buttons) {
            const isCurrent = nameOf(button) === this.current;
            button.setAttribute("aria-selected", String(isCurrent));
            button.tabIndex = isCurrent ? 0 : -1;
            this.root.querySelector(`#view-${nameOf(button)}`).hidden = !isCurrent;
            if (isCurrent && focus) {
                button.focus();
            }
        }
        if (!quietly) {
            this.changed(this.current);
        }
    }

    keyPressed(event, button) {
        const last = this.buttons.length - 1;
        const index = this.buttons.indexOf(button);
        const next = {
            ArrowRight: index === last ? 0 : index + 1,
            ArrowLeft: index === 0 ? last : index - 1,
            Home: 0,
            End: last,
        }[event.key];
        if (next !== undefined) {
            event.preventDefault();
            this.select(nameOf(this.buttons[next]), { focus: true });
        }
    }
}

function nameOf(tab) {
    return tab.id.replace("tab-", "");
}

class Tree {
    constructor(root) {
        this.root = root;
        this.body = root.querySelector("[role=treegrid] tbody");
        this.inspector = root.querySelector(".inspector");
        this.nodes = [];
        this.top = [];
        this.matches = null;
        if (!this.body) {
            return;
        }
        const byId = new Map();
        for (const row of this.body.rows) {
            const node = { row, children: [], parent: byId.get(row.dataset.parent), isOpen: true };
            byId.set(row.dataset.id, node);
            this.nodes.push(node);
            (node.parent ? node.parent.children : this.top).push(node);
        }
        this.byId = byId;
        this.foldAtFirst();
        this.body.addEventListener("click", (event) => this.clicked(event));
        this.body.addEventListener("keydown", (event) => this.keyPressed(event));
        this.body.addEventListener("focusin", (event) => {
            const row = event.target.closest("tr");
            if (row && !row.classList.contains("rest")) {
                this.makeCurrent(this.nodeOf(row));
            }
        });
        const first = this.nodes[0];
        if (first) {
            first.row.tabIndex = 0;
        }
    }

    /** Begin with what a person can take in: a long tree shows its upper levels and what failed. */
    foldAtFirst() {
        if (this.nodes.length <= MANY_ROWS) {
            return;
        }
        const failing = new Set();
        for (const node of this.nodes) {
            if (node.row.classList.contains("failed")) {
                for (let above = node.parent; above; above = above.parent) {
                    failing.add(above);
                }
            }
        }
        // Where the top alone is long, what is below it comes when it is asked for.
        const second = this.top.reduce((sum, node) => sum + node.children.length, 0);
        const open = this.top.length + second > MANY_ROWS ? 1 : 2;
        for (const node of this.nodes) {
            const level = Number(node.row.getAttribute("aria-level"));
            node.isOpen = level < open || failing.has(node);
        }
    }

    nodeOf(row) {
        return this.byId.get(row.dataset.id);
    }

    order(key) {
        if (!this.body || this.ordered === key) {
            return;
        }
        this.ordered = key;
        const value = (node) => Number(node.row.dataset[key] || 0);
        const compare = {
            id: (a, b) => value(a) - value(b),
            name: (a, b) => (a.row.dataset.name || "").localeCompare(b.row.dataset.name || ""),
        }[key] || ((a, b) => value(b) - value(a));
        // Notes about what is left out stay at the end of their level.
        const inOrder = (a, b) =>
            a.row.classList.contains("rest") - b.row.classList.contains("rest") || compare(a, b);
        const rows = document.createDocumentFragment();
        const stack = [...this.top].sort(inOrder).reverse();
        while (stack.length) {
            const node = stack.pop();
            rows.append(node.row);
            stack.push(...[...node.children].sort(inOrder).reverse());
        }
        this.body.append(rows);
    }

    filter(fits, isActive) {
        if (!this.body) {
            return;
        }
        this.matches = isActive ? new Set() : null;
        this.around = new Set();
        if (isActive) {
            for (const node of this.nodes) {
                if (!node.row.dataset.search || !fits(node.row)) {
                    continue;
                }
                this.matches.add(node);
                for (let above = node.parent; above; above = above.parent) {
                    this.around.add(above);
                }
            }
        }
        this.show();
    }

    /** Show the rows that the folding and the filter leave. A filter opens what it finds. */
    show() {
        for (const node of this.nodes) {
            const { row, parent } = node;
            let isShown = !parent || (parent.isShown && this.isOpen(parent));
            // A row that something leads to is there, whosever it is.
            isShown = isShown && (node.isRevealed || this.isInView(row));
            if (this.matches) {
                isShown = isShown && (this.matches.has(node) || this.around.has(node));
            }
            node.isShown = isShown;
            row.hidden = !isShown;
            row.classList.toggle("around", Boolean(this.matches) && !this.matches.has(node));
            if (node.children.length) {
                row.setAttribute("aria-expanded", String(this.isOpen(node)));
            }
        }
        const current = this.current?.isShown ? this.current : this.shown()[0];
        for (const node of this.nodes) {
            node.row.tabIndex = node === current ? 0 : -1;
        }
    }

    isOpen(node) {
        return node.isOpen || Boolean(this.matches && this.around.has(node));
    }

    shown() {
        return [...this.body.rows]
            .map((row) => this.nodeOf(row))
            .filter((node) => node.isShown && !node.row.classList.contains("rest"));
    }

    focusFirst() {
        const [first] = this.body ? this.shown() : [];
        first?.row.focus();
    }

    makeCurrent(node) {
        if (this.current) {
            this.current.row.setAttribute("aria-selected", "false");
            this.current.row.tabIndex = -1;
        }
        this.current = node;
        node.row.setAttribute("aria-selected", "true");
        node.row.tabIndex = 0;
        const known = node.row.querySelector("template");
        this.inspector.replaceChildren(known.content.cloneNode(true));
        // Where the details stand at the lower edge, they must not cover the row itself.
        node.row.scrollIntoView({ block: "nearest" });
    }

    fold(node, isOpen) {
        node.isOpen = isOpen;
        this.show();
    }

    foldAll(isOpen) {
        for (const node of this.nodes) {
            node.isOpen = isOpen;
        }
        this.show();
        let node = this.current;
        while (node && !node.isShown) {
            node = node.parent;
        }
        (node || this.shown()[0])?.row.focus();
    }

    reveal(id, clearFilter) {
        const node = this.byId.get(id);
        if (this.matches && !this.matches.has(node)) {
            clearFilter();
        }
        node.isRevealed = true;
        for (let above = node.parent; above; above = above.parent) {
            above.isOpen = above.isRevealed = true;
        }
        this.show();
        node.row.focus();
        node.row.scrollIntoView({ block: "center" });
    }

    clicked(event) {
        const row = event.target.closest("tr");
        if (!row || row.classList.contains("rest") || event.target.closest("a")) {
            return;
        }
        const node = this.nodeOf(row);
        if (event.target.closest(".twist") && node.children.length) {
            this.fold(node, !this.isOpen(node));
        }
        row.focus();
    }

    keyPressed(event) {
        const row = event.target.closest("tr");
        if (!row || event.ctrlKey || event.metaKey || event.altKey) {
            return;
        }
        const node = this.nodeOf(row);
        const act = {
            ArrowDown: () => this.step(node, 1),
            ArrowUp: () => this.step(node, -1),
            Home: () => this.focusFirst(),
            End: () => this.shown().at(-1).row.focus(),
            ArrowRight: () => (this.isOpen(node) ? this.stepInto(node) : this.fold(node, true)),
            ArrowLeft: () =>
                node.children.length && this.isOpen(node) && !this.matches
                    ? this.fold(node, false)
                    : node.parent?.row.focus(),
            Enter: () => this.inspector.focus(),
            "[": () => this.foldAll(false),
            "]": () => this.foldAll(true),
            o: () => row.querySelector(".out a")?.click(),
            e: () => this.inspector.querySelector(".links a[href]:not([target])")?.click(),
        }[event.key];
        // Enter on a link inside the row follows the link.
        if (act && !(event.key === "Enter" && event.target.closest("a"))) {
            event.preventDefault();
            event.stopPropagation();
            act();
        }
    }

    step(node, by) {
        const rows = this.shown();
        rows[rows.indexOf(node) + by]?.row.focus();
    }

    stepInto(node) {
        node.children.find((child) => child.isShown && !child.row.classList.contains("rest"))?.row.focus();
    }
}

/** Make the headings of a table sort its rows; the first click shows the largest first. */
function makeSortable(table) {
    for (const heading of table.querySelectorAll("th[data-sort]")) {
        const button = document.createElement("button");
        button.type = "button";
        button.append(...heading.childNodes);
        heading.append(button);
        button.addEventListener("click", () => sort(table, heading));
    }
}

function sort(table, heading) {
    const isNumber = heading.dataset.sort === "number";
    const before = heading.getAttribute("aria-sort");
    const first = isNumber ? "descending" : "ascending";
    const second = isNumber ? "ascending" : "descending";
    const direction = before === first ? second : first;
    for (const other of table.querySelectorAll("th[aria-sort]")) {
        other.removeAttribute("aria-sort");
    }
    heading.setAttribute("aria-sort", direction);
    const value = (row) => {
        const cell = row.cells[heading.cellIndex];
        return isNumber ? Number(cell.dataset.value) : cell.textContent.trim();
    };
    const collator = new Intl.Collator(undefined, { numeric: true });
    const compare = isNumber
        ? (a, b) => value(a) - value(b)
        : (a, b) => collator.compare(value(a), value(b));
    const sign = direction === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
}

if (!customElements.get("signal-trace-panel")) {
    customElements.define("signal-trace-panel", SignalTracePanel);
}
