import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { columnOf, searchOnly } from "#js/list.js";

describe("the list", () => {
  it("saves a search without its place in the list", () => {
    const address = "?q=kind%3Arequest&before=12&after=3&last=q&size=50&kind=request";

    assert.equal(searchOnly(address), "q=kind%3Arequest&kind=request");
  });

  it("lets every column be hidden but the names and the boxes", () => {
    const columns = [["col-user"], ["num", "col-duration"], ["col-name"], ["col-choose"], ["num"]];

    assert.deepEqual(columns.map(columnOf), ["user", "duration", undefined, undefined, undefined]);
  });
});
