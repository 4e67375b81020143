"""The kinds of processes, and the receivers that not all of them have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.mine import hidden_text
from tracing.analysis.process_wiring import as_dict
from tracing.presentation.links import Links
from tracing.store.processes import compared
from tracing.viewer.views.base import Page

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


class Processes(Page):
    """The kinds of processes, and what some of them alone have connected."""

    template_name = "tracing/processes.html"
    section = "recorder"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the page; of one receiver with ``?receiver=``."""
        kinds, found = compared()
        receiver = request.GET.get("receiver", "").strip()[:500]
        found = [each for each in found if receiver in each.receiver.name]
        if self.wants_json:
            return self.json(as_dict(kinds, found))
        # Who asks for one receiver is shown it, whosever it is.
        shows_all = self.everything or bool(receiver)
        shown = [each for each in found if shows_all or each.is_hazard]
        hidden = len(found) - len(shown)
        is_foreign = hidden == sum(not each.receiver.mine for each in found)
        return self.page(
            {
                "kinds": kinds,
                "rows": shown,
                "missing_count": sum(each.is_hazard for each in found),
                "hidden_count": hidden,
                "note": hidden_text(hidden, "difference") if is_foreign else "",
                "receiver": receiver,
                "links": Links(""),
            }
        )
