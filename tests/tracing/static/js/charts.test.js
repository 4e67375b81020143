import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { narrow, nearest, powersAround } from "#js/charts.js";

describe("charts", () => {
  it("narrow a search to a time, instead of the one it had", () => {
    assert.equal(narrow("", 1.5, 2), "since:1500000 until:2000000");
    assert.equal(
      narrow("since:1h kind:request until:2 name:since", 1, 2, "duration>=1us"),
      "kind:request name:since since:1000000 until:2000000 duration>=1us",
    );
  });

  it("have the powers of ten around what they show", () => {
    assert.deepEqual(powersAround([3, 250]), [1, 10, 100, 1000]);
    assert.deepEqual(powersAround([100]), [100, 1000]);
    assert.deepEqual(powersAround([5, 7]), [1, 10]);
  });

  it("point at the closest of what is near", () => {
    const points = [
      [0, 0],
      [10, 0],
      [11, 1],
    ];

    assert.equal(nearest(points, [9, 0]), 1);
    assert.equal(nearest(points, [12, 2]), 2);
    assert.equal(nearest(points, [40, 40]), -1);
    assert.equal(nearest([], [0, 0]), -1);
  });
});
