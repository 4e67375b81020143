import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { asTable, newestRow } from "#js/live.js";

describe("new traces", () => {
  const answer = '<template data-row="42"></template><tr data-trace="1"><td>order</td></tr>';

  it("tell how far they go", () => {
    assert.equal(newestRow(answer), "42");
    assert.equal(newestRow(""), undefined);
  });

  it("are rows of a table, without what tells how far they go", () => {
    assert.equal(
      asTable(answer),
      '<table><tbody><tr data-trace="1"><td>order</td></tr></tbody></table>',
    );
  });
});
