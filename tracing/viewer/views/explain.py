"""Explanations: what follows a signal, a receiver or a unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.explain.steps import as_dict
from tracing.analysis.why_not.target import UnknownNameError
from tracing.analysis.wiring import ANY, read_wiring
from tracing.presentation.explanation import tell
from tracing.presentation.links import Links
from tracing.presentation.rows import DRAWN_LEVELS
from tracing.search.parser import quoted
from tracing.store.explaining import Wanted, explain
from tracing.viewer.views.base import RANGES, Page, read_since
from tracing.viewer.views.traces import list_address

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tracing.analysis.explain.steps import Explanation, Step
    from tracing.presentation.explanation import Line

MOST_OFFERED: Final = 200
"""Signals and senders that are offered where nothing is asked."""
MOST_LINES: Final = 150
"""Steps on a page, those that happened most often; JSON and the command have all of them."""


class Explain(Page):
    """One tree of what follows ``?what=``, since ``?since=``."""

    template_name = "tracing/explain.html"
    section = "map"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the explanation; without a question those that can be asked."""
        given = {name: request.GET.get(name, "").replace("\0", "") for name in ("what", "signal")}
        asked = {name: text.strip()[:500] for name, text in given.items()}
        since, since_ns = read_since(request.GET.get("since", ""), "7d")
        context: dict[str, Any] = {
            "asked": asked,
            "since": since,
            "ranges": RANGES,
            "links": Links(""),
        }
        if not asked["what"]:
            if self.wants_json:
                return self.json({"error": "No sender, signal, receiver or name"}, 400)
            return self.page(context | {"offered": _offered(everything=self.everything)})
        try:
            found = explain(Wanted(asked["what"], asked["signal"], since_ns))
        except UnknownNameError as error:
            if self.wants_json:
                return self.json({"error": str(error)}, 404)
            first, *others = str(error).splitlines()
            context |= {"problem": first, "candidates": _candidates(others, asked)}
            return self.page(context, status=404)
        if self.wants_json:
            return self.json(as_dict(found))
        told = tell(found, everything=self.everything, most=MOST_LINES)
        shown = {
            "told": told,
            "lines": [*map(_drawn, told.lines)],
            "hidden": told.hidden,
            "traces": list_address(_search(found)),
        }  # fmt: skip
        return self.page(context | shown)


def _drawn(line: Line) -> tuple[Line, Step, int, str]:
    """Return a line, its step, its level and its classes."""
    level, step = min(line.level + 1, DRAWN_LEVELS), line.step
    failed, unseen = line.is_failed and " is-failed", step.is_unseen and " is-unseen"
    return line, step, level, f"l{level}{failed or ''}{unseen or ''}"


def _search(found: Explanation) -> str:
    """Return the search for the traces that hold what is asked about."""
    question = found.question
    receiver = question.receiver.name if question.receiver is not None else ""
    asked = {"signal": question.signal, "sender": question.sender, "receiver": receiver}
    asked["name"] = question.name
    return " ".join(f"{key}={quoted(value)}" for key, value in asked.items() if value)


def _candidates(lines: list[str], asked: dict[str, str]) -> list[dict[str, str]]:
    """Return the questions in the *lines* of a message, which are indented."""
    names = [line.strip() for line in lines if line.startswith("  ") and ":" in line]
    found = []
    for name in names:
        is_signal = bool(asked["signal"]) and name.startswith("signal:")
        changed = {"signal": name.removeprefix("signal:")} if is_signal else {"what": name}
        found.append({**asked, **changed, "name": name})
    return found


def _offered(*, everything: bool) -> list[tuple[str, list[str]]]:
    """Return the senders with receivers here, each with its signals.

    Where no receiver is mine, those of others are offered.
    """
    every: dict[str, dict[str, None]] = {}
    mine: dict[str, dict[str, None]] = {}
    for route in read_wiring(with_holders=False):
        for connection in route.connections:
            sender = ANY if connection.receiver.any_sender else route.sender
            every.setdefault(sender, {})[route.signal] = None
            if connection.receiver.mine:
                mine.setdefault(sender, {})[route.signal] = None
    chosen = every if everything else mine or every
    return [(sender, list(chosen[sender])) for sender in sorted(chosen)][:MOST_OFFERED]
