import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { placeAfter } from "#js/lines.js";

describe("walking lines", () => {
  it("begins at the end that one comes from", () => {
    assert.deepEqual([placeAfter(-1, 1, 3), placeAfter(-1, -1, 3)], [0, 2]);
  });

  it("stops at both ends", () => {
    assert.deepEqual([placeAfter(0, -1, 3), placeAfter(1, 1, 3), placeAfter(2, 1, 3)], [0, 2, 2]);
  });
});
