import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { directionAfter, sorted } from "#panel/tables.js";

describe("tables that are sorted", () => {
  it("begin with the largest number and the first name, then turn round", () => {
    const numbers = [null, "descending", "ascending"].map((before) => directionAfter(before, true));
    assert.deepEqual(numbers, ["descending", "ascending", "descending"]);

    const names = [null, "ascending", "descending"].map((before) => directionAfter(before, false));
    assert.deepEqual(names, ["ascending", "descending", "ascending"]);
  });

  it("have numbers by their size, names as people count, equal ones as they were", () => {
    const rows = [
      { at: 0, name: "call 10", took: 2 },
      { at: 1, name: "call 9", took: 10 },
      { at: 2, name: "Call 9", took: 2 },
    ];
    const places = (read, direction) => sorted(rows, read, direction).map(({ at }) => at);

    assert.deepEqual(
      places(({ took }) => took, "descending"),
      [1, 0, 2],
    );
    assert.equal(places(({ name }) => name, "ascending").at(-1), 0);
  });
});
