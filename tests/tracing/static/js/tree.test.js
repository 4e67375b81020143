import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";

import { Folding, readLine } from "#js/tree.js";

/** A row as the template draws it. */
function row({ number = "", above = "", of, level, expanded }) {
  const attributes = { "aria-level": level, "aria-expanded": expanded };
  return {
    dataset: of ? { number, of } : { number, above },
    getAttribute: (name) => attributes[name] ?? null,
    hasAttribute: (name) => attributes[name] !== undefined,
  };
}

/*
1 ─ 2 ─ 3
  └ 4, repeated by 41 and 42
5
*/
const LINES = [
  { number: "1", level: "1", expanded: "true" },
  { number: "2", above: "1", level: "2", expanded: "true" },
  { number: "3", above: "1 2", level: "3" },
  { number: "4", above: "1", level: "2" },
  { number: "41", of: "4", level: "2" },
  { number: "", of: "4", level: "2" },
  { number: "5", level: "1" },
].map((line) => readLine(row(line)));

describe("folding", () => {
  let folding;
  const shown = () => {
    const hidden = folding.hidden(LINES);
    return LINES.filter((_, place) => !hidden[place]).map(({ number }) => number || "more");
  };

  beforeEach(() => {
    folding = new Folding();
  });

  it("reads a row", () => {
    assert.deepEqual(LINES[2], {
      number: "3",
      above: ["1", "2"],
      of: "",
      level: 3,
      isParent: false,
    });
    assert.deepEqual([LINES[0].isParent, LINES[0].above, LINES[4].of], [true, [], "4"]);
  });

  it("shows everything at first", () => {
    assert.deepEqual(shown(), ["1", "2", "3", "4", "41", "more", "5"]);
  });

  it("hides what is below a line, repetitions with the line they repeat", () => {
    folding.collapse(["1"]);
    assert.deepEqual(shown(), ["1", "5"]);

    folding.expand(["1"]);
    folding.collapse(["4"]);
    assert.deepEqual(shown(), ["1", "2", "3", "4", "5"]);
  });

  it("keeps what is collapsed within what is collapsed", () => {
    folding.collapse(["2"]);
    folding.collapse(["1"]);
    folding.expand(["1"]);

    assert.deepEqual(shown(), ["1", "2", "4", "41", "more", "5"]);
  });

  it("collapses level by level from below, and expands from above", () => {
    folding.collapseLevel(LINES);
    assert.deepEqual(shown(), ["1", "2", "4", "41", "more", "5"]);
    folding.collapseLevel(LINES);
    assert.deepEqual(shown(), ["1", "5"]);
    folding.collapseLevel(LINES);
    assert.deepEqual(shown(), ["1", "5"]);

    folding.expandLevel(LINES);
    assert.deepEqual(shown(), ["1", "2", "4", "41", "more", "5"]);
    folding.expandLevel(LINES);
    folding.expandLevel(LINES);
    assert.equal(shown().length, LINES.length);
  });

  it("collapses and expands all", () => {
    folding.collapseAll(LINES);
    assert.deepEqual(shown(), ["1", "5"]);
    assert.deepEqual([folding.isCollapsed("2"), folding.isCollapsed("3")], [true, false]);

    folding.expandAll();
    assert.equal(shown().length, LINES.length);
  });
});
