"""``SignalTracePanel``, as the toolbar knows it: when it records, what it keeps, what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from debug_toolbar.panels import Panel

from tracing.analysis.hazards import diagnose
from tracing.analysis.wiring import read_wiring
from tracing.instrumentation import context
from tracing.instrumentation.assembly.assembler import keep_numbers, snapshot
from tracing.instrumentation.buffer import LiveTrace
from tracing.instrumentation.failures import failed
from tracing.instrumentation.patching import is_instrumented
from tracing.panels import page, stats
from tracing.panels.checks import run_checks
from tracing.presentation.templating import draw
from tracing.spans.escapes import in_any_charset
from tracing.spans.records import Kind
from tracing.templatetags.tracing_tags import asset
from tracing.units import format_ns

if TYPE_CHECKING:
    from django.core.checks import CheckMessage
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from tracing.panels.facts import Json
    from tracing.spans.records import Trace

REQUEST_ID = "djdt_request_id"
"""Attribute of a trace under which the toolbar has stored the same request."""

NOT_INSTRUMENTED = "Signals are not instrumented: TRACING['ENABLED'] is off."
RECORDED_HERE = (
    "Recorded for this panel only, because the request was not sampled, is left out or recording is"
    " paused. The viewer does not have it, and what was sent before the toolbar began is missing."
)
OWN_PAGE = "A page of the tracer itself: not traced."
LEFT_OUT = "The panel failed to record this request; the log of the tracer says why."


class SignalTracePanel(Panel):
    """The signals of a request: the tree of dispatches and receivers, with times and hazards.

    Never named ``SignalsPanel``: the toolbar knows panels by the names of their classes, and would
    put this one in the place of its own.
    """

    is_async = True
    title = "Signal trace"
    nav_icon = "tracing/panel/icon.svg"  # type: ignore[assignment]  # the toolbar says None.
    template = "tracing/panel.html"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._live: LiveTrace | None = None
        self._trace: Trace | None = None
        self._is_own = False
        self._is_stored = False
        self._was_held = False
        self._is_numbered = True

    # -- Recording ---------------------------------------------------------------------------

    def enable_instrumentation(self) -> None:
        """Watch the trace of the running request, or begin one that nobody else gets."""
        if self._live is not None or not is_instrumented():
            return
        try:
            live = context.current_trace()
            if live is None:
                request = self.toolbar.request
                live = LiveTrace(Kind.REQUEST, request.path[:200], outer=context.current())
                live.excluded = self._is_own = True
                live.http_method, live.http_path = request.method[:10], request.path[:500]
                context.begin(live)
            live.attributes[REQUEST_ID] = self.toolbar.request_id
            # Until the panel has seen the whole, no part of it may be exported and forgotten.
            self._was_held, live.held = live.held, True
            self._live = live
        except Exception as error:  # noqa: BLE001 - the page is worth more than the panel.
            failed("panel", error)

    def disable_instrumentation(self) -> None:
        """Take the spans as they are now; the toolbar's own work is not part of them."""
        live, self._live = self._live, None
        if live is None:
            return
        try:
            if self._is_own:
                context.finish(live)
            self._is_numbered = live.reading is None
            self._trace = snapshot(live)
            self._is_stored = not live.excluded
            if self._is_stored and not self._was_held:
                keep_numbers(live)
        except Exception as error:  # noqa: BLE001 - the same.
            failed("panel", error)
        finally:
            live.held = self._was_held

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:  # noqa: ARG002
        """Store what the panel will show. No query is made here: there may be an event loop."""
        self.record_stats(self._stats())  # type: ignore[no-untyped-call]  # the toolbar's.

    def _stats(self) -> Json:
        trace = self._trace
        if trace is None:
            return {"note": LEFT_OUT if is_instrumented() else NOT_INSTRUMENTED}
        if not self._is_own and not self._is_stored:
            return {"note": OWN_PAGE}
        try:
            described = stats.describe(trace, diagnose(trace))
        except Exception as error:  # noqa: BLE001 - the page is worth more than the panel.
            failed("panel", error)
            return {"note": LEFT_OUT}
        described["request_id"] = self.toolbar.request_id
        described["stored"] = self._is_stored
        # Parts of a long trace may have been exported before: then these numbers mean nothing.
        described["numbered"] = self._is_numbered
        if self._is_own:
            described["note"] = RECORDED_HERE
        return described

    def generate_server_timing(self, request: HttpRequest, response: HttpResponse) -> None:  # noqa: ARG002
        """Tell the browser's own tools how long the signals took."""
        found = self._stored()
        if "signal_ns" not in found:
            return
        text = f"Signals {found['dispatch_count']}, receivers {found['receiver_call_count']}"
        milliseconds = round(found["signal_ns"] / 1e6, 3)
        self.record_server_timing("signals", text, milliseconds)  # type: ignore[no-untyped-call]

    def _stored(self) -> Json:
        found: Json = self.get_stats()  # type: ignore[no-untyped-call]  # the toolbar's.
        return found

    # -- Showing -----------------------------------------------------------------------------

    @property
    def nav_title(self) -> str:
        """Return the title in the side bar, with a mark if a hazard was found."""
        return in_any_charset(f"{self.title} {page.mark(self._stored())}".rstrip())

    @property
    def nav_subtitle(self) -> str:
        """Return the line under the title in the side bar."""
        return in_any_charset(page.subtitle(self._stored()))

    @property
    def scripts(self) -> list[str]:
        """Return the addresses of the panel's scripts: one ES module."""
        return [*super().scripts, asset("tracing/panel/panel.js")]

    @property
    def content(self) -> str:
        """Return the panel's HTML, from what is stored; there may be no request any more."""
        return render(self._stored())

    @classmethod
    def get_urls(cls) -> list[URLPattern]:
        """Return the addresses of the pages that show a stored panel by itself."""
        from tracing.panels.urls import urlpatterns  # noqa: PLC0415 - views need the toolbar ready.

        return urlpatterns

    @classmethod
    def run_checks(cls) -> list[CheckMessage]:
        """Return what is set up wrongly, for ``manage.py check``."""
        return run_checks(cls)


def render(stored: Json, show: str = "") -> str:
    """Return the HTML of a panel whose stats are *stored*.

    With *show* it shows ``mine`` or ``everything``, else what the browser's cookie says.
    """
    if stored.get("version") != stats.VERSION:
        return draw("tracing/panel_empty.html", {"note": stored.get("note", "")})
    return draw("tracing/panel.html", page.context(stored, read_wiring(), show))


def summary(stored: Json) -> str:
    """Return one line about a stored panel."""
    if stored.get("version") != stats.VERSION:
        return str(stored.get("note", ""))
    return f"{stored['name']}: {page.subtitle(stored)}, {format_ns(stored['duration_ns'])} in all"
