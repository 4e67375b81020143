import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { nextScale, tiedTo } from "#js/map.js";

describe("the map", () => {
  const edges = [
    { from: "s:Order", to: "d:post_save" },
    { from: "d:post_save", to: "r:make_sale" },
    { from: "d:post_save", to: "r:thank_buyer" },
  ];

  it("ties a node to its edges and their other ends", () => {
    const tied = tiedTo(edges, "r:make_sale");

    assert.deepEqual(tied.edges, [false, true, false]);
    assert.deepEqual([...tied.nodes].sort(), ["d:post_save", "r:make_sale"]);
  });

  it("ties nothing to nothing", () => {
    const tied = tiedTo([...edges, {}], undefined);

    assert.deepEqual(tied.edges, [false, false, false, false]);
    assert.equal(tied.nodes.size, 0);
  });

  it("is fitted whatever is shown", () => {
    assert.deepEqual([nextScale(0, 3, 0.1), nextScale(0, 0.2, 1)], [0.1, 1]);
  });

  it("grows threefold at most, and shrinks until it fits or can hardly be read", () => {
    assert.deepEqual(
      [nextScale(1.25, 1, 0.5), nextScale(1.25, 2.9, 0.5), nextScale(0.8, 0.3, 0.5)],
      [1.25, 3, 0.3],
    );
    assert.equal(nextScale(0.8, 0.1, 0.1), 0.1);
  });
});
