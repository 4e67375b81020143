import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { above, collapsedAtFirst, comparison, grow, inOrder, shown } from "#panel/treegrid.js";

/** A tree of rows given as ``[number, numbers above]``, with what a test sets of each. */
function tree(rows) {
  return grow(
    rows.map(([number, above = "", { total = 0, name = "", isFailed = false } = {}]) => {
      const numbers = above.split(" ").filter(Boolean);
      return {
        line: { number, above: numbers, of: "", level: numbers.length + 1, isParent: false },
        row: { dataset: { name, total: String(total) } },
        isFailed,
      };
    }),
  );
}

const ROWS = [
  ["1", "", { total: 5, name: "b" }],
  ["2", "1", { total: 1, name: "d" }],
  ["3", "1", { total: 4, name: "c" }],
  ["4", "1 3", { total: 4, name: "e" }],
  ["5", "", { total: 9, name: "a" }],
];
const numbers = (nodes) => [...nodes].map(({ line }) => line.number).join(" ");

describe("the tree of the panel", () => {
  it("knows what lies below and above a row", () => {
    const nodes = tree(ROWS);

    assert.deepEqual(
      nodes.map(({ children }) => numbers(children)),
      ["2 3", "", "4", "", ""],
    );
    assert.equal(numbers(above([nodes[3]])), "3 1");
    assert.equal(numbers(above([nodes[3], nodes[1], nodes[4]])), "3 1");
  });

  it("takes a row whose parent was left out for one at the top", () => {
    const [node] = tree([["7", "1 3"]]);

    assert.equal(node.parent, null);
  });

  it("has an order among the children of each row", () => {
    const nodes = tree(ROWS);
    const order = (key) => numbers(inOrder(nodes, comparison(key, nodes)));

    assert.equal(order("number"), "1 2 3 4 5");
    assert.equal(order("total"), "5 1 3 4 2");
    assert.equal(order("name"), "5 1 3 4 2");
    assert.equal(order("number"), "1 2 3 4 5");
  });

  it("begins open where it is short", () => {
    assert.deepEqual(collapsedAtFirst(tree(ROWS), 5), []);
  });

  it("begins with two levels where it is long, and with what failed", () => {
    const rows = [...ROWS, ["6", "5"], ["7", "5 6"], ["8", "5 6 7", { isFailed: true }]];

    assert.equal(numbers(collapsedAtFirst(tree(rows), 5)), "2 3 4 8");
  });

  it("begins with one level where two are long", () => {
    assert.equal(numbers(collapsedAtFirst(tree(ROWS), 3)), "1 2 3 4 5");
  });

  it("shows what is open and in view", () => {
    const nodes = tree(ROWS);
    const see = (sight) => {
      const everything = { isOpen: () => true, isInView: () => true };
      return numbers(shown(nodes, { ...everything, matches: null, around: new Set(), ...sight }));
    };

    assert.equal(see({}), "1 2 3 4 5");
    assert.equal(see({ isOpen: ({ line }) => line.number !== "3" }), "1 2 3 5");
    assert.equal(see({ isOpen: () => false }), "1 5");
    // What is below a row that is not mine is not in view either.
    assert.equal(see({ isInView: ({ line }) => line.number !== "3" }), "1 2 5");
  });

  it("shows what a filter finds, and what is above that", () => {
    const nodes = tree(ROWS);
    const matches = new Set([nodes[3]]);
    const around = above(matches);
    const sight = { isOpen: (node) => around.has(node), isInView: () => true, matches, around };

    assert.equal(numbers(shown(nodes, sight)), "1 3 4");
  });
});
