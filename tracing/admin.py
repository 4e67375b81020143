"""The admin of the store, read only: the viewer is for reading traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from tracing.store.models import Hazard, RecorderControl, RecorderState, SavedSearch, Trace
from tracing.units import format_ns

if TYPE_CHECKING:
    from django.http import HttpRequest

    Base = admin.ModelAdmin[Any]
else:
    Base = admin.ModelAdmin


class ReadOnlyAdmin(Base):
    """Rows can be looked at, and nothing else."""

    # Counting millions of rows for the foot of a list would take longer than reading the list.
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Return False: rows are written by the recorder."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Return False: what was recorded stays as it was."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        """Return False: pruning deletes."""
        return False


@admin.register(Trace)
class TraceAdmin(ReadOnlyAdmin):
    """Traces, newest first, each with a link into the viewer."""

    list_display = [
        "trace_name", "kind", "status", "started_at", "duration", "dispatch_count",
        "receiver_call_count", "query_count", "error_count", "hazard_count", "viewer",
    ]  # fmt: skip
    list_filter = ["kind", "status", "failed", "pinned"]
    search_fields = ["=trace_id", "=root_span_id"]
    search_help_text = _("A whole trace id.")
    ordering = ["-id"]
    list_select_related = ["label"]
    exclude = ["label", "attributes", "details"]

    @admin.display(description=_("name"))
    def trace_name(self, trace: Trace) -> str:
        """Return the route, command or other name of the trace."""
        return trace.name

    @admin.display(description=_("started"))
    def started_at(self, trace: Trace) -> Any:
        """Return when it started."""
        # In the project's time zone without USE_TZ too, where templates leave a moment as it is.
        return timezone.localtime(trace.started_at)

    @admin.display(description=_("duration"), ordering="duration_ns")
    def duration(self, trace: Trace) -> str:
        """Return how long it took, for people."""
        return format_ns(trace.duration_ns)

    @admin.display(description=_("viewer"))
    def viewer(self, trace: Trace) -> str:
        """Return the link to the trace's page; empty without the viewer."""
        try:
            address = reverse("tracing:trace", args=[trace.address])
        except NoReverseMatch:
            return ""
        return format_html('<a href="{}">{}</a>', address, _("open"))


@admin.register(Hazard)
class HazardAdmin(ReadOnlyAdmin):
    """Hazards, those seen last first."""

    list_display = ["hazard", "severity", "message", "count", "known"]
    list_filter = ["severity", "known", "hazard"]
    exclude = ["trace", "fingerprint"]


@admin.register(RecorderState)
class RecorderStateAdmin(ReadOnlyAdmin):
    """The processes that record."""

    list_display = ["host", "process", "recorded", "dropped", "queued", "version"]
    exclude = ["wiring"]


@admin.register(RecorderControl)
class RecorderControlAdmin(ReadOnlyAdmin):
    """The switch that pauses recording."""

    list_display = ["__str__", "changed_by"]


@admin.register(SavedSearch)
class SavedSearchAdmin(ReadOnlyAdmin):
    """Searches of the viewer that were given a name."""

    list_display = ["name", "query", "created_by"]
