/** The panel's tree: its rows folded, filtered, put in order and walked with keys. */

/** @typedef {typeof import("../js/tree.js")} TreeModule */
/** @typedef {import("../js/tree.js").Line} Line */
/** @typedef {typeof import("./filter.js")} FilterModule */
/** @typedef {import("./filter.js").Filter} Filter */

/**
 * A row among the others.
 *
 * @template {{ line: Line }} Item
 * @typedef {Item & { parent: Node<Item> | null, children: Node<Item>[] }} Node
 */

const MANY_ROWS = 150;

/**
 * Return nodes for the rows of a tree, parents before children.
 *
 * @template {{ line: Line }} Item
 * @param {Item[]} items
 * @returns {Node<Item>[]}
 */
export function grow(items) {
  /** @type {Map<string, Node<Item>>} */
  const byNumber = new Map();
  return items.map((item) => {
    const parent = byNumber.get(item.line.above.at(-1) ?? "") ?? null;
    /** @type {Node<Item>} */
    const node = { ...item, parent, children: [] };
    parent?.children.push(node);
    byNumber.set(item.line.number, node);
    return node;
  });
}

/**
 * Return the nodes above some nodes.
 *
 * @template {{ parent: Node | null }} Node
 * @param {Iterable<Node>} nodes
 * @returns {Set<Node>}
 */
export function above(nodes) {
  /** @type {Set<Node>} */
  const found = new Set();
  for (const node of nodes) {
    for (let next = node.parent; next && !found.has(next); next = next.parent) found.add(next);
  }
  return found;
}

/**
 * Return the nodes that begin collapsed: a long tree shows its upper levels and what failed.
 *
 * @template {{ line: Line, parent: Node | null, isFailed: boolean }} Node
 * @param {Node[]} nodes
 * @param {number} [many]
 * @returns {Node[]}
 */
export function collapsedAtFirst(nodes, many = MANY_ROWS) {
  if (nodes.length <= many) return [];
  const failing = above(nodes.filter((node) => node.isFailed));
  // Where the upper two levels alone are long, what is below the first comes when it is asked for.
  const upper = nodes.filter(({ parent }) => !parent?.parent).length;
  const open = upper > many ? 1 : 2;
  return nodes.filter((node) => node.line.level >= open && !failing.has(node));
}

/**
 * Return all nodes in an order that holds among the children of each.
 *
 * @template {{ parent: Node | null, children: Node[] }} Node
 * @param {Node[]} nodes
 * @param {(a: Node, b: Node) => number} compare
 * @returns {Node[]}
 */
export function inOrder(nodes, compare) {
  /** @type {Node[]} */
  const found = [];
  /** @param {Node[]} siblings */
  const backwards = (siblings) => [...siblings].sort(compare).reverse();
  const stack = backwards(nodes.filter((node) => !node.parent));
  for (let node = stack.pop(); node; node = stack.pop()) {
    found.push(node);
    stack.push(...backwards(node.children));
  }
  return found;
}

/**
 * Return the nodes that can be seen. A filter opens what it finds.
 *
 * @template {{ parent: Node | null }} Node
 * @param {Node[]} nodes Parents before children.
 * @param {object} sight
 * @param {(node: Node) => boolean} sight.isOpen
 * @param {(node: Node) => boolean} sight.isInView
 * @param {Set<Node> | null} sight.matches Null without a filter.
 * @param {Set<Node>} sight.around What is above the matches.
 * @returns {Set<Node>}
 */
export function shown(nodes, { isOpen, isInView, matches, around }) {
  /** @type {Set<Node>} */
  const found = new Set();
  for (const node of nodes) {
    const { parent } = node;
    if (parent && !(found.has(parent) && isOpen(parent))) continue;
    if (!isInView(node) || (matches && !matches.has(node) && !around.has(node))) continue;
    found.add(node);
  }
  return found;
}

/**
 * Return how the nodes of one parent are compared.
 *
 * @template {{ line: Line, row: { dataset: DOMStringMap } }} Node
 * @param {string} key
 * @param {Node[]} nodes As it happened.
 * @returns {(a: Node, b: Node) => number}
 */
export function comparison(key, nodes) {
  if (key === "number") {
    const places = new Map(nodes.map((node, place) => [node, place]));
    return (a, b) => (places.get(a) ?? 0) - (places.get(b) ?? 0);
  }
  if (key === "name") {
    return (a, b) => (a.row.dataset.name ?? "").localeCompare(b.row.dataset.name ?? "");
  }
  /** @param {Node} node */
  const value = ({ row }) => Number(row.dataset[key] || 0);
  return (a, b) => value(b) - value(a);
}

/** @typedef {Node<{ line: Line, row: HTMLElement, isFailed: boolean }>} RowNode */

/** The tree as a person walks it. */
export class TreeGrid {
  #body;
  #inspector;
  #filtering;
  #folding;
  /** @type {RowNode[]} */
  #nodes = [];
  /** @type {Map<string, RowNode>} */
  #byNumber = new Map();
  /** @type {Filter} */
  #filter = { words: [], threshold: 0, everything: true };
  /** @type {Set<RowNode> | null} */
  #matches = null;
  /** @type {Set<RowNode>} */
  #around = new Set();
  /** @type {Set<RowNode>} What something has led to is there, whosever it is. */
  #revealed = new Set();
  /** @type {Set<RowNode>} */
  #shown = new Set();
  /** @type {RowNode | undefined} */
  #current;
  #order = "number";

  /**
   * @param {ShadowRoot} root
   * @param {object} modules
   * @param {TreeModule} modules.tree
   * @param {FilterModule} modules.filter
   */
  constructor(root, { tree, filter }) {
    this.#body = /** @type {HTMLElement | null} */ (root.querySelector("[role=treegrid]"));
    this.#inspector = /** @type {HTMLElement | null} */ (root.querySelector(".inspector"));
    this.#filtering = filter;
    this.#folding = new tree.Folding();
    if (!this.#body) return;
    const items = this.#rows().map((row) => {
      return { line: tree.readLine(row), row, isFailed: row.classList.contains("is-failed") };
    });
    this.#nodes = grow(items);
    this.#byNumber = new Map(this.#nodes.map((node) => [node.line.number, node]));
    this.#folding.collapse(collapsedAtFirst(this.#nodes).map(({ line }) => line.number));
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    this.#body.addEventListener("keydown", (event) => this.#pressed(event));
    this.#body.addEventListener("focusin", (event) => {
      const node = this.#nodeAround(event);
      if (node) this.#makeCurrent(node);
    });
  }

  /** @param {string} key */
  order(key) {
    if (!this.#body || this.#order === key) return;
    this.#order = key;
    const nodes = inOrder(this.#nodes, comparison(key, this.#nodes));
    this.#body.append(...nodes.map(({ row }) => row));
  }

  /** @param {Filter} filter */
  filter(filter) {
    const { fits, isActive, readSubject } = this.#filtering;
    this.#filter = filter;
    this.#matches = null;
    if (isActive(filter)) {
      const searched = this.#nodes.filter(({ row }) => row.dataset.search);
      this.#matches = new Set(searched.filter(({ row }) => fits(filter, readSubject(row))));
    }
    this.#around = above(this.#matches ?? []);
    this.#draw();
  }

  /**
   * Show a row and go to it.
   *
   * @param {string} number
   * @param {() => void} clearFilter Called if the filter hides it.
   */
  reveal(number, clearFilter) {
    const node = this.#byNumber.get(number);
    if (!node) return;
    if (this.#matches && !this.#matches.has(node)) clearFilter();
    const upper = [...above([node])];
    for (const one of [node, ...upper]) this.#revealed.add(one);
    this.#folding.expand(upper.map(({ line }) => line.number));
    this.#draw();
    node.row.focus();
    node.row.scrollIntoView({ block: "center" });
  }

  focusFirst() {
    this.#inSight()[0]?.row.focus();
  }

  /** Return the rows as they stand. */
  #rows() {
    const found = this.#body?.querySelectorAll("[data-number]") ?? [];
    return /** @type {HTMLElement[]} */ ([...found]);
  }

  #inSight() {
    const nodes = this.#rows().map((row) => this.#byNumber.get(row.dataset.number ?? ""));
    return nodes.filter((node) => node !== undefined).filter((node) => this.#shown.has(node));
  }

  /** @param {Event} event */
  #nodeAround({ target }) {
    const row = target instanceof Element ? target.closest("[data-number]") : null;
    return row instanceof HTMLElement ? this.#byNumber.get(row.dataset.number ?? "") : undefined;
  }

  /** @param {RowNode} node */
  #isOpen(node) {
    const isFound = this.#matches !== null && this.#around.has(node);
    return isFound || !this.#folding.isCollapsed(node.line.number);
  }

  #draw() {
    const { isInView, readSubject } = this.#filtering;
    this.#shown = shown(this.#nodes, {
      isOpen: (node) => this.#isOpen(node),
      isInView: (node) => this.#revealed.has(node) || isInView(this.#filter, readSubject(node.row)),
      matches: this.#matches,
      around: this.#around,
    });
    for (const node of this.#nodes) {
      const { row, children } = node;
      row.hidden = !this.#shown.has(node);
      row.classList.toggle("around", this.#matches !== null && !this.#matches.has(node));
      if (!children.length) continue;
      const isOpen = this.#isOpen(node);
      row.setAttribute("aria-expanded", String(isOpen));
      row.querySelector(".twist")?.setAttribute("aria-label", isOpen ? "Collapse" : "Expand");
    }
    const current = this.#current;
    const focusable = current && this.#shown.has(current) ? current : this.#inSight()[0];
    for (const node of this.#nodes) node.row.tabIndex = node === focusable ? 0 : -1;
  }

  /** @param {RowNode} node */
  #makeCurrent(node) {
    this.#current?.row.setAttribute("aria-selected", "false");
    if (this.#current) this.#current.row.tabIndex = -1;
    this.#current = node;
    node.row.setAttribute("aria-selected", "true");
    node.row.tabIndex = 0;
    const known = node.row.querySelector("template");
    if (known) this.#inspector?.replaceChildren(known.content.cloneNode(true));
    // Where the details stand at the lower edge, they must not cover the row itself.
    node.row.scrollIntoView({ block: "nearest" });
  }

  /**
   * @param {RowNode} node
   * @param {boolean} isOpen
   */
  #fold(node, isOpen) {
    if (isOpen) this.#folding.expand([node.line.number]);
    else this.#folding.collapse([node.line.number]);
    this.#draw();
  }

  /** @param {boolean} isOpen */
  #foldAll(isOpen) {
    if (isOpen) this.#folding.expandAll();
    else this.#folding.collapseAll(this.#nodes.map(({ line }) => line));
    this.#draw();
    const now = this.#current;
    const upper = now ? [now, ...above([now])] : [];
    (upper.find((node) => this.#shown.has(node)) ?? this.#inSight()[0])?.row.focus();
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const node = this.#nodeAround(event);
    const target = /** @type {Element} */ (event.target);
    if (!node || target.closest("a")) return;
    if (target.closest(".twist") && node.children.length) this.#fold(node, !this.#isOpen(node));
    node.row.focus();
  }

  /**
   * @param {RowNode} node
   * @param {number} by
   */
  #step(node, by) {
    const nodes = this.#inSight();
    nodes[nodes.indexOf(node) + by]?.row.focus();
  }

  /** @param {string} selector Of a link in the details. */
  #follow(selector) {
    /** @type {HTMLAnchorElement | null | undefined} */ (
      this.#inspector?.querySelector(selector)
    )?.click();
  }

  /**
   * Return what a key does on a row; undefined where it does nothing.
   *
   * @param {string} key
   * @param {RowNode} node
   * @returns {(() => void) | undefined}
   */
  #act(key, node) {
    const isFoldable = node.children.length > 0 && this.#isOpen(node) && !this.#matches;
    /** @type {Map<string, () => void>} */
    const acts = new Map([
      ["ArrowDown", () => this.#step(node, 1)],
      ["ArrowUp", () => this.#step(node, -1)],
      ["Home", () => this.focusFirst()],
      ["End", () => this.#inSight().at(-1)?.row.focus()],
      ["ArrowRight", () => (this.#isOpen(node) ? this.#stepInto(node) : this.#fold(node, true))],
      ["ArrowLeft", () => (isFoldable ? this.#fold(node, false) : node.parent?.row.focus())],
      ["Enter", () => this.#inspector?.focus()],
      ["[", () => this.#foldAll(false)],
      ["]", () => this.#foldAll(true)],
      ["o", () => this.#follow(".links a[target]")],
      ["e", () => this.#follow(".links a[href]:not([target])")],
    ]);
    return acts.get(key);
  }

  /** @param {RowNode} node */
  #stepInto(node) {
    node.children.find((child) => this.#shown.has(child))?.row.focus();
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const node = this.#nodeAround(event);
    if (!node || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = this.#act(event.key, node);
    // Enter on a link inside the row follows the link.
    const isLink = event.key === "Enter" && /** @type {Element} */ (event.target).closest("a");
    if (!act || isLink) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }
}
