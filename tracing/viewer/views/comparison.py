"""Two traces compared, and two periods or releases."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.comparison import Change, compare
from tracing.analysis.mine import listed
from tracing.analysis.regression import Regression, compare_samples
from tracing.clocks import time
from tracing.presentation.documents import change_document, regression_document
from tracing.presentation.rows import DRAWN_LEVELS
from tracing.spans.summary import summary_document
from tracing.store import traces
from tracing.store.receiver_samples import receiver_samples
from tracing.units import parse_timestamp
from tracing.viewer.views.base import Page

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tracing.spans.summary import TraceSummary

SAMPLE: Final = 300
"""Traces of each period or release that are compared, the newest."""
MOST: Final = 800
OFFERED: Final = 20
"""Newest traces to choose from."""
_LOOKED_AT: Final = 200
_MOST_CALLS: Final = 6_000
"""Receiver calls of each period or release that are read, some 20 ms."""


class Compare(Page):
    """Two traces side by side, with what changed."""

    template_name = "tracing/compare.html"
    section = "compare"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the comparison of ``?a=`` and ``?b=``, or a choice of traces."""
        before, problem_a = self._trace(request.GET.get("a", ""))
        after, problem_b = self._trace(request.GET.get("b", ""))
        data: dict[str, Any] = {
            "before": before,
            "after": after,
            # A mistake is mended where it stands, not typed again.
            "given": {side: request.GET.get(side, "")[:49] for side in ("a", "b")},
            "problems": [problem for problem in (problem_a, problem_b) if problem],
        }
        if before is not None and after is not None:
            comparison = compare(traces.load(before), traces.load(after))
            only_changed = "changed" in request.GET
            view = listed(comparison.changes, "place", everything=self.everything)
            changes = [each for each in view.rows if each.verdicts or not only_changed]
            data |= {
                "view": view,
                "hidden": view.note,
                "changes": [_drawn(change) for change in changes[:MOST]],
                "cut": max(0, len(changes) - MOST),
                "changed_count": len(comparison.changed),
                "only_changed": only_changed,
                "difference_ns": after.duration_ns - before.duration_ns,
                "difference_queries": after.query_count - before.query_count,
                "difference_dispatches": after.dispatch_count - before.dispatch_count,
            }
            if self.wants_json:
                return self.json(
                    {
                        "before": summary_document(before),
                        "after": summary_document(after),
                        "changes": [change_document(change) for change in comparison.changed],
                    }
                )
        elif self.wants_json:
            return self.json({"error": "Give the ids of two traces as a and b."}, status=400)
        else:
            recent = traces.newest(_LOOKED_AT)
            offered = listed(recent, "trace", everything=self.everything)
            data |= {"view": offered, "hidden": offered.note, "recent": offered.rows[:OFFERED]}
        return self.page(data, status=404 if data["problems"] else 200)

    @staticmethod
    def _trace(given: str) -> tuple[TraceSummary | None, str]:
        wanted = given.strip().lower()
        if not wanted:
            return None, ""
        if not re.fullmatch(r"[0-9a-f]{1,32}|[0-9a-f]{32}/[0-9a-f]{1,16}", wanted):
            return None, f"“{given[:60]}” is no trace id."
        found = traces.beginning_with(wanted, 2)
        if not found:
            return None, f"No trace {wanted} is stored."
        if len(found) > 1 and found[0].trace_id == found[1].trace_id:
            return None, f"Several traces have the id {wanted}: add the root span id of one."
        return found[0], ""


def _drawn(change: Change) -> dict[str, Any]:
    before, after = (node.total_ns if node else 0 for node in (change.before, change.after))
    longest = max(before, after, 1)
    return {
        "change": change,
        "level": min(change.depth + 1, DRAWN_LEVELS),
        "node": change.after or change.before,
        "before_bar": f"{before / longest * 100:.1f}",
        "after_bar": f"{after / longest * 100:.1f}",
        "is_worse": bool({"slower", "more SQL", "more errors", "appeared"} & set(change.verdicts)),
        "is_better": bool(
            {"faster", "less SQL", "fewer errors", "vanished"} & set(change.verdicts)
        ),
    }


def _newest_two(releases: list[str]) -> dict[str, str]:
    """Return the releases that a form offers, of *releases*, oldest first."""
    return dict(zip(("release_after", "release_before"), reversed(releases), strict=False))


class ComparePeriods(Page):
    """The receivers that changed between two periods or releases."""

    template_name = "tracing/periods.html"
    section = "compare"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the comparison of two ranges of time or of two releases."""
        now_ns = time.time_ns()
        given = {
            name: request.GET.get(name, "").strip()
            for name in ("before_since", "before_until", "after_since", "after_until",
                         "release_before", "release_after")
        }  # fmt: skip
        problems: list[str] = []
        regressions: list[Regression] = []
        sizes: tuple[int, int] | None = None
        by_release = bool(given["release_before"] or given["release_after"])
        if by_release or any(given.values()):
            if by_release:
                sides = [
                    self._of_release(given["release_before"]),
                    self._of_release(given["release_after"]),
                ]
            else:
                sides = [
                    self._of_period(
                        given[f"{side}_since"], given[f"{side}_until"], now_ns, problems
                    )
                    for side in ("before", "after")
                ]
            if not problems:
                sizes = len(sides[0]), len(sides[1])
                regressions = compare_samples(*map(receiver_samples, sides))
        if self.wants_json:
            if problems or sizes is None:
                message = " ".join(problems) or "Give two periods or two releases."
                return self.json({"error": message}, status=400)
            return self.json(
                {
                    "before_traces": sizes[0],
                    "after_traces": sizes[1],
                    "receivers": [regression_document(found) for found in regressions],
                }
            )
        releases = traces.releases(recent=True)[-50:]
        unfolded = "all" in request.GET
        view = listed(regressions, "receiver", everything=self.everything)
        return self.page(
            {
                "given": given if by_release else given | _newest_two(releases),
                "problems": problems,
                "view": view,
                "hidden": view.note,
                "regressions": [found for found in view.rows if unfolded or found.is_changed],
                "folded": sum(not found.is_changed for found in view.rows) if not unfolded else 0,
                "sizes": sizes,
                "sample": SAMPLE,
                "most_calls": _MOST_CALLS,
                "releases": sorted(releases),
                "by_release": by_release,
            },
            status=400 if problems else 200,
        )

    @staticmethod
    def _of_period(since: str, until: str, now_ns: int, problems: list[str]) -> list[TraceSummary]:
        limits: list[int | None] = []
        for text in (since, until):
            try:
                limits.append(parse_timestamp(text, now_ns) if text else None)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            return []
        return _readable(traces.started_within(limits[0], limits[1], SAMPLE, seconds=0.5))

    @staticmethod
    def _of_release(release: str) -> list[TraceSummary]:
        if "\0" in release:
            return []
        return _readable(traces.of_release(release, SAMPLE))


def _readable(rows: list[TraceSummary]) -> list[TraceSummary]:
    """Return the first of *rows* that are small and read in a moment."""
    small = [row for row in rows if row.receiver_call_count <= _MOST_CALLS]
    until = accumulate(row.receiver_call_count for row in small)
    return [row for row, calls in zip(small, until, strict=True) if calls <= _MOST_CALLS]
