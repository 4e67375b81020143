import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Going } from "#js/keys.js";

describe("going to a page with g and a letter", () => {
  it("leads to the page", () => {
    const going = new Going();
    going.begin(1_000);

    assert.equal(going.next("h", 1_200), "hazards/");
  });

  it("leads to the list, whose address is the viewer's own", () => {
    const going = new Going();
    going.begin(0);

    assert.equal(going.next("t", 1_499), "");
  });

  it("does nothing without g, too late, a second time, or with another letter", () => {
    const going = new Going();
    assert.equal(going.next("h", 10), undefined);

    going.begin(0);
    assert.equal(going.next("h", 1_500), undefined);

    going.begin(2_000);
    assert.equal(going.next("x", 2_010), undefined);
    assert.equal(going.next("m", 2_020), "map/");
    assert.equal(going.next("m", 2_030), undefined);
  });
});
