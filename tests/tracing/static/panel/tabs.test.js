import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { tabAfter } from "#panel/tabs.js";

describe("tabs", () => {
  it("are walked round and round", () => {
    const places = (key) => [0, 1, 2].map((at) => tabAfter(key, at, 3));

    assert.deepEqual(places("ArrowRight"), [1, 2, 0]);
    assert.deepEqual(places("ArrowLeft"), [2, 0, 1]);
    assert.deepEqual(places("Home"), [0, 0, 0]);
    assert.deepEqual(places("End"), [2, 2, 2]);
    assert.equal(tabAfter("Enter", 0, 3), undefined);
  });
});
