import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { countText, fits, isActive, isInView, readSubject, wordsOf } from "#panel/filter.js";

const ALL = { words: [], threshold: 0, everything: true };
const CALL = { text: "make_sale core.sales.receivers", total: 1_000, isOther: false };

describe("the filter of the panel", () => {
  it("reads words in small letters", () => {
    assert.deepEqual(wordsOf("  Make_Sale  SALES "), ["make_sale", "sales"]);
    assert.deepEqual(wordsOf(" "), []);
  });

  it("reads what an element says, else its text", () => {
    const row = { dataset: { search: "make_sale", total: "12", other: "" }, textContent: "X" };
    assert.deepEqual(readSubject(row), { text: "make_sale", total: 12, isOther: true });

    const item = { dataset: {}, textContent: "Bulk_Create" };
    assert.deepEqual(readSubject(item), { text: "bulk_create", total: null, isOther: false });
  });

  it("asks for every word", () => {
    assert.equal(fits({ ...ALL, words: ["sale", "core"] }, CALL), true);
    assert.equal(fits({ ...ALL, words: ["sale", "cars"] }, CALL), false);
  });

  it("asks for the time of what has one", () => {
    assert.equal(fits({ ...ALL, threshold: 1_000 }, CALL), true);
    assert.equal(fits({ ...ALL, threshold: 1_001 }, CALL), false);
    assert.equal(fits({ ...ALL, threshold: 1_001 }, { ...CALL, total: null }), true);
  });

  it("leaves out what is not mine, unless everything is asked for", () => {
    const other = { ...CALL, isOther: true };
    assert.deepEqual([fits(ALL, other), isInView(ALL, other)], [true, true]);

    const mine = { ...ALL, everything: false };
    assert.deepEqual(
      [fits(mine, other), isInView(mine, other), fits(mine, CALL)],
      [false, false, true],
    );
  });

  it("is at work with words or a time", () => {
    const filters = [ALL, { ...ALL, words: ["x"] }, { ...ALL, threshold: 1 }];

    assert.deepEqual(filters.map(isActive), [false, true, true]);
  });

  it("counts what it left", () => {
    assert.deepEqual(
      [countText(3, 3), countText(0, 1), countText(2, 30)],
      ["", "0 of 1 row", "2 of 30 rows"],
    );
  });
});
