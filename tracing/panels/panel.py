"""``SignalTracePanel``: its recording, its copy, its content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from debug_toolbar.panels import Panel

from tracing.analysis.hazards import diagnose
from tracing.analysis.wiring import read_wiring
from tracing.instrumentation import context
from tracing.instrumentation.assembly.assembler import keep_numbers, snapshot
from tracing.instrumentation.buffer import ActiveTrace
from tracing.instrumentation.failures import failed
from tracing.instrumentation.patching import is_instrumented
from tracing.instrumentation.scopes.redirects import LONGEST_NS, tell_way
from tracing.panels import page, stored
from tracing.panels.checks import run_checks
from tracing.presentation.templating import draw
from tracing.spans.escapes import in_any_charset
from tracing.spans.records import Kind
from tracing.templatetags.tracing_tags import asset

if TYPE_CHECKING:
    from django.core.checks import CheckMessage
    from django.http import HttpRequest, HttpResponse

    from tracing.panels.stored import Json
    from tracing.spans.records import Trace

REQUEST_ID = "djdt_request_id"
"""Attribute of a trace under which the toolbar has stored the same request."""

NOT_INSTRUMENTED = "Signals are not instrumented: TRACING['ENABLED'] is off."
RECORDED_HERE = (
    "Recorded for this panel only, because the request was not sampled, is left out or recording is"
    " paused. The viewer does not have it, and what was sent before the toolbar began is missing."
)
OWN_PAGE = "A page of the tracer itself: not traced."
NOTHING = "Nothing was recorded for this request."
LEFT_OUT = "The panel failed to record this request; the log of the tracer says why."


class SignalTracePanel(Panel):
    """The dispatches and receivers of a request as a tree, with times.

    Never named ``SignalsPanel``: the toolbar knows panels by the names of their classes, and would
    put this one in the place of its own.
    """

    is_async = True
    title = "Signal trace"
    nav_icon = "tracing/panel/icon.svg"  # type: ignore[assignment]  # the toolbar says None.
    template = "tracing/panel.html"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._active: ActiveTrace | None = None
        self._trace: Trace | None = None
        self._is_own = False
        self._is_stored = False
        self._was_held = False
        self._is_numbered = True

    # -- Recording ---------------------------------------------------------------------------

    def enable_instrumentation(self) -> None:
        """Watch the trace of the running request, or begin one for the panel."""
        if self._active is not None or not is_instrumented():
            return
        try:
            active = context.current_trace()
            if active is None:
                request = self.toolbar.request
                active = ActiveTrace(Kind.REQUEST, request.path[:200], outer=context.current())
                active.excluded = self._is_own = True
                active.http_method, active.http_path = request.method[:10], request.path[:500]
                context.begin(active)
            active.attributes[REQUEST_ID] = self.toolbar.request_id
            # Until the panel has seen the whole, no part of it may be exported and forgotten.
            self._was_held, active.held = active.held, True
            self._active = active
        except Exception as error:  # noqa: BLE001 - the page is worth more than the panel.
            failed("panel", error)

    def disable_instrumentation(self) -> None:
        """Take the spans, before the toolbar adds work of its own."""
        active, self._active = self._active, None
        if active is None:
            return
        try:
            if self._is_own:
                context.finish(active)
            self._is_numbered = active.reading is None
            self._trace = snapshot(active)
            self._is_stored = not active.excluded
            if self._is_stored and not self._was_held:
                keep_numbers(active)
        except Exception as error:  # noqa: BLE001 - the same.
            failed("panel", error)
        finally:
            active.held = self._was_held

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:
        """Store what the panel will show.

        No query is made here: there may be an event loop.
        """
        if self._trace is not None:
            try:
                tell_way(self._trace, request, response)
            except Exception as error:  # noqa: BLE001 - the same.
                failed("panel", error)
        self.record_stats(self._stats())  # type: ignore[no-untyped-call]  # the toolbar's.

    def _stats(self) -> Json:
        trace = self._trace
        if trace is None:
            return {"note": LEFT_OUT if is_instrumented() else NOT_INSTRUMENTED}
        if not self._is_own and not self._is_stored:
            return {"note": OWN_PAGE}
        try:
            diagnose(trace)
            described = stored.describe(trace)
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
        trace = self._trace
        if trace is None or "trace" not in self._stored():
            return
        text = f"Signals {trace.dispatch_count}, receivers {trace.receiver_call_count}"
        milliseconds = round(trace.signal_ns / 1e6, 3)
        self.record_server_timing("signals", text, milliseconds)  # type: ignore[no-untyped-call]

    def _stored(self) -> Json:
        found: Json = self.get_stats()  # type: ignore[no-untyped-call]  # the toolbar's.
        return found

    # -- Showing -----------------------------------------------------------------------------

    @property
    def nav_title(self) -> str:
        """Return the title in the side bar, with a mark if a hazard was found."""
        return in_any_charset(f"{self.title} {self._stored().get('mark', '')}".rstrip())

    @property
    def nav_subtitle(self) -> str:
        """Return the line under the title in the side bar."""
        found = self._stored()
        return in_any_charset(str(found.get("subtitle", found.get("note", ""))))

    @property
    def scripts(self) -> list[str]:
        """Return the addresses of the panel's scripts: one ES module."""
        return [*super().scripts, asset("tracing/panel/panel.js")]

    @property
    def content(self) -> str:
        """Return the panel's HTML from what is stored, without a request."""
        found = self._stored()
        return render(found, self._source_of(found))

    def _source_of(self, found: Json) -> Json | None:
        """Return what is stored of the request that redirected to *found*."""
        key = found.get("arrival_key")
        if not key:
            return None
        try:
            store = self.toolbar.store
            others = [store.panel(each, self.panel_id) for each in list(store.request_ids())]
        except Exception as error:  # noqa: BLE001 - the panel has its own trace.
            failed("panel", error)
            return None
        sources = [
            other
            for other in others
            if other.get("version") == stored.VERSION
            and other.get("redirect_key") == key
            and 0 < found["started_ns"] - other["started_ns"] <= LONGEST_NS
        ]
        return max(sources, key=lambda other: other["started_ns"], default=None)

    @classmethod
    def run_checks(cls) -> list[CheckMessage]:
        """Return what is set up wrongly, for ``manage.py check``."""
        return run_checks(cls)


def render(found: Json, source: Json | None = None) -> str:
    """Return the HTML of a panel, with the *source* of a redirect to it."""
    if found.get("version") != stored.VERSION:
        return draw("tracing/panel.html", {"note": found.get("note", "") or NOTHING})
    return draw("tracing/panel.html", page.context(found, read_wiring(), source))
