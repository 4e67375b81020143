"""Questions about receivers that were not called, and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import Http404

from tracing.analysis.why_not.syntax import ends_with
from tracing.analysis.why_not.target import UnknownNameError
from tracing.analysis.why_not.words import as_dict
from tracing.analysis.wiring import ANY, read_wiring
from tracing.presentation.links import Links
from tracing.store.answers import Wanted, why_not_called
from tracing.store.traces import called
from tracing.viewer.views.base import Page

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tracing.spans.summary import TraceSummary

MOST_RECEIVERS = 100
"""Receivers of a signal that are offered where none is named."""


class WhyNot(Page):
    """The reason why ``?receiver=`` was not called, or that it was."""

    template_name = "tracing/why_not.html"
    section = "map"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the answer, narrowed by ``?signal=``, ``?sender=``, ``?trace=``."""
        names = ("receiver", "signal", "sender", "trace")
        asked = {name: request.GET.get(name, "").strip()[:500] for name in names}
        context: dict[str, Any] = {"asked": asked, "links": Links("")}
        if not asked["receiver"]:
            context["receivers"] = _receivers(asked["signal"], asked["sender"])
            return (
                self.json({"error": "No receiver"}, 400) if self.wants_json else self.page(context)
            )
        wanted = Wanted(asked["receiver"], asked["signal"], asked["sender"], _trace(asked["trace"]))
        try:
            answer = why_not_called(wanted)
        except UnknownNameError as error:
            if self.wants_json:
                return self.json({"error": str(error)}, 404)
            return self.page(context | {"problem": str(error).splitlines()}, status=404)
        if self.wants_json:
            return self.json(as_dict(answer))
        return self.page(context | {"answer": answer})


def _trace(wanted: str) -> TraceSummary | None:
    """Return the trace of an address; None if none is named."""
    if not wanted:
        return None
    if not (found := called(wanted, 1)):
        raise Http404(f"There is no trace {wanted}.")
    return found[0]


def _receivers(signal: str, sender: str) -> list[str]:
    """Return the receivers of a signal here, those of *sender* first.

    Of no signal in particular those of mine, where there are any.
    """
    found: dict[str, bool] = {}
    mine: set[str] = set()
    for route in read_wiring(with_holders=False):
        if signal and not ends_with(route.signal, signal):
            continue
        for connection in route.connections:
            if connection.alive:
                name = connection.receiver.name
                found[name] = found.get(name, False) or route.sender in {sender, ANY}
                if connection.receiver.mine:
                    mine.add(name)
    offered = found if signal else mine or found
    return sorted(offered, key=lambda name: (not found[name], name))[:MOST_RECEIVERS]
